# SPDX-License-Identifier: Apache-2.0
"""Writes a random two-layer Llama with a byte-level tokenizer, for tests of the whole program; no packages needed."""
import array
import json
import os
import random
import struct

HIDDEN, INTERMEDIATE, VOCAB, LAYERS = 64, 128, 272, 2


def byte_map():
    """The printable stand-in of each byte in byte-level BPE vocabularies."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return {byte: chr(byte if byte in kept else next(spare)) for byte in range(256)}


def tensors():
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN), 1.0
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows, cols in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", HIDDEN // 2, HIDDEN),
                                 ("self_attn.v_proj", HIDDEN // 2, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
                                 ("mlp.gate_proj", INTERMEDIATE, HIDDEN), ("mlp.up_proj", INTERMEDIATE, HIDDEN),
                                 ("mlp.down_proj", HIDDEN, INTERMEDIATE)):
            yield f"{prefix}{name}.weight", (rows, cols), 0.25
        yield prefix + "input_layernorm.weight", (HIDDEN,), None
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,), None
    yield "model.norm.weight", (HIDDEN,), None
    yield "lm_head.weight", (VOCAB, HIDDEN), 0.25


def write_weights(path):
    rng = random.Random(7)
    header, blobs, offset = {}, [], 0
    for name, shape, spread in tensors():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        blob = array.array("f", [1.0 if spread is None else rng.gauss(0, spread) for _ in range(count)]).tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_tiny_model(folder, max_positions=2048):
    def write(name, value):
        with open(os.path.join(folder, name), "w") as file:
            json.dump(value, file)
    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": max_positions, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float32", "eos_token_id": 257})
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, c in ((256, "<s>"), (257, "</s>"))]
    write("tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {c: byte for byte, c in byte_map().items()}, "merges": []}})
    write("tokenizer_config.json", {
        "bos_token": "<s>", "eos_token": "</s>",
        "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
                         "{% if add_generation_prompt %}[assistant] {% endif %}"})
    write_weights(os.path.join(folder, "model.safetensors"))
