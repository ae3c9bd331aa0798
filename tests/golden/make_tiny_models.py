#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden data: tiny random models of each architecture with transformers' f32 logits.

Each folder tests/golden/ARCH/VARIANT/ is an ordinary Hugging Face folder plus expected.safetensors
with `token_ids` [tokens] and `logits` [tokens, vocab]. ARCH is the stem of the file in
src/models/arch/ that must load it; golden_models_test.cc finds the folders by name.

usage: make_tiny_models.py [ARCH/VARIANT...]     (in the interop environment: scripts/interop.sh)
"""
import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
NUM_TOKENS = 40  # more than every sliding window below, and more than one KV block of 32

# Small on purpose, and odd where code likes multiples: vocabularies that no panel divides, a head
# width of 24, an intermediate size of 88.
LLAMA = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, vocab_size=160, max_position_embeddings=128,
             rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False)
OPT = dict(hidden_size=64, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=160,
           max_position_embeddings=64, word_embed_proj_dim=64, do_layer_norm_before=True)

# ARCH/VARIANT: (config class, overrides, stored dtype, tweaks)
MODELS = {
    "llama/plain": ("LlamaConfig", LLAMA, "float32", {}),
    "llama/gqa_tied": ("LlamaConfig", LLAMA | dict(
        num_key_value_heads=2, tie_word_embeddings=True, vocab_size=131), "bfloat16",
        {"v4_config": True}),
    "llama/wide_heads_biases": ("LlamaConfig", LLAMA | dict(
        hidden_size=48, intermediate_size=88, num_attention_heads=6, num_key_value_heads=3,
        head_dim=24, attention_bias=True, mlp_bias=True), "bfloat16", {}),
    "llama/llama3_rope": ("LlamaConfig", LLAMA | dict(
        num_key_value_heads=1, rope_parameters=dict(
            rope_theta=500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=32)), "bfloat16",
        {"v4_config": True, "shards": True}),
    "llama/mistral_window": ("MistralConfig", LLAMA | dict(
        num_key_value_heads=2, sliding_window=9), "bfloat16", {}),
    "qwen2/tied": ("Qwen2Config", LLAMA | dict(
        num_key_value_heads=2, tie_word_embeddings=True, vocab_size=151), "bfloat16", {}),
    "qwen2/window_from_layer_1": ("Qwen2Config", LLAMA | dict(
        num_key_value_heads=2, use_sliding_window=True, sliding_window=7, max_window_layers=1,
        num_hidden_layers=3), "bfloat16", {"v4_config": True}),
    "opt/pre_norm": ("OPTConfig", OPT, "bfloat16", {}),
    "opt/post_norm_projected": ("OPTConfig", OPT | dict(
        do_layer_norm_before=False, word_embed_proj_dim=32), "bfloat16", {"v4_config": True}),
    "mixtral/four_experts": ("MixtralConfig", LLAMA | dict(
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2), "bfloat16", {}),
}


def randomize(model, seed):
    """Weights large enough that every part of the graph moves the logits; norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            parameter.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.1 * noise
        elif ".gate." in name:
            # Experts far enough apart that rounding to bf16 does not send a token elsewhere.
            parameter.data = noise * 6.0 / parameter.shape[-1] ** 0.5
        else:
            parameter.data = noise * (0.5 if "embed" in name else 1.0 / parameter.shape[-1] ** 0.5)


def to_v4_config(path):
    """The spelling of transformers 4: torch_dtype, rope_theta and rope_scaling at the top."""
    config = json.loads(path.read_text())
    config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type", "default") != "default":
            config["rope_scaling"] = rope
    path.write_text(json.dumps(config, indent=2) + "\n")


def make(name, seed):
    config_class, fields, dtype, tweaks = MODELS[name]
    config = getattr(transformers, config_class)(**fields, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    randomize(model, seed)
    model.tie_weights()
    model = model.to(getattr(torch, dtype))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **({"max_shard_size": "64KB"} if tweaks.get("shards") else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if tweaks.get("v4_config"):
        to_v4_config(folder / "config.json")

    # The reference reads the files back, so that it sees what Octavo sees.
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed + 1)
    token_ids = torch.randint(3, fields["vocab_size"], (NUM_TOKENS,), generator=generator)
    with torch.no_grad():
        logits = reference(token_ids[None]).logits[0]
    assert logits.dtype == torch.float32 and logits.std() > 0.1
    save_file({"token_ids": token_ids, "logits": logits.contiguous()}, folder / "expected.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size / 1024:.0f} KiB, logits std {logits.std():.2f}")


def main():
    transformers.logging.set_verbosity_error()
    for seed, name in enumerate(MODELS):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, 100 * seed)


if __name__ == "__main__":
    main()
