#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every checkpoint form against the library that owns it, on a tiny model; writes docs/checkpoint-forms.md.

    checkpoint_forms.py OCTAVO MODEL [--table FILE]

MODEL lends its tokenizer. Checked, with dequantized weights equal bit for bit:
  1. foreign forms (GPTQ, AWQ, bitsandbytes, NVFP4, MXFP4, AutoFP8), made by their libraries
  2. what `octavo quantize` writes, decompressed by compressed-tensors
  3. GGUF blocks, made and dequantized by the gguf library
  4. what `octavo convert` writes: read by auto-round's layers, compared with the source's tensors, and
     rounded and parsed by the gguf library
Each folder or file also runs: `octavo logits` gives finite numbers that a transformers model with the
dequantized weights confirms. --table writes the table of what ran (its kernels are this machine's).
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import common

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
import make_forms  # noqa: E402

IDS = list(range(3, 43))
SCHEMES = ["W8A8", "FP8_DYNAMIC", "FP8_BLOCK", "W4A16", "W4A16_ASYM", "W3A16", "W8A16", "W4A8"]
GGUF_TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
COMPANIONS = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


class Run:
    """Paths, the tiny model, the checks and the rows of the table."""

    def __init__(self, octavo, model, scratch):
        self.octavo, self.model, self.scratch = octavo, pathlib.Path(model), pathlib.Path(scratch)
        self.checks, self.rows = common.Checks(), []
        config = LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2,
                             num_attention_heads=4, num_key_value_heads=2, vocab_size=49152,
                             max_position_embeddings=256, tie_word_embeddings=True,
                             rope_theta=10000.0, bos_token_id=1, eos_token_id=2)
        torch.manual_seed(1)
        self.reference = LlamaForCausalLM(config).bfloat16()
        with torch.no_grad():
            for name, weight in self.reference.named_parameters():
                if "norm" not in name:
                    weight.copy_(torch.randn(weight.shape) * 0.05)
        self.folder = self.scratch / "base"
        self.reference.save_pretrained(self.folder)
        self.companions(self.folder)
        self.tensors = load_file(self.folder / "model.safetensors")
        self.config = json.loads((self.folder / "config.json").read_text())
        self.linears = sorted(n[:-len(".weight")] for n in self.tensors if n.endswith("_proj.weight"))

    def companions(self, folder):
        for name in COMPANIONS:
            if (self.model / name).exists():
                shutil.copy(self.model / name, folder)

    def values(self, model):
        """octavo's dequantized linears."""
        out = self.scratch / "values.safetensors"
        common.run(self.octavo, "dequantize", model, "-o", out)
        return load_file(out)

    def kernels(self, model):
        report = common.run_json(self.octavo, "inspect", model)
        parts = [row for row in report["linears"] if row["module"].endswith("_proj")]
        return parts[0]["scheme"], ", ".join(sorted({row["kernel"] for row in parts})), parts[0]["note"]

    def runs(self, model, values, bound):
        """Whether octavo's logits are close to those of transformers with the given weights (KL, nats)."""
        out = self.scratch / "logits.safetensors"
        # What GGUF files say is judged without the rounding of their activations to 8 bits.
        exact = ["--gguf-activations", "16bit"] if str(model).endswith(".gguf") else []
        common.run(self.octavo, "logits", model, "--prompt-ids", ",".join(map(str, IDS)), "-o", out, *exact)
        have = load_file(out)["logits"].double()
        state = {name: tensor.float() for name, tensor in self.tensors.items()}
        state.update({name: tensor.float() for name, tensor in values.items()})
        twin = LlamaForCausalLM(self.reference.config).float()
        twin.load_state_dict(state, strict=False)
        with torch.no_grad():
            want = twin(torch.tensor([IDS])).logits[0].double()
        p, q = want.log_softmax(-1), have.log_softmax(-1)
        kl = float((p.exp() * (p - q)).sum(-1).mean())
        return bool(torch.isfinite(have).all()) and kl < bound

    def check(self, form, model, want, library, writes="", bound=2e-3):
        have = self.values(model)
        equal = set(have) >= set(want) and all(
            have[n].shape == w.shape and torch.equal(have[n] + 0.0, w.float() + 0.0)
            for n, w in want.items())
        self.checks.expect(equal, f"{form}: dequantized weights equal {library}'s bit for bit")
        self.checks.expect(self.runs(model, want, bound), f"{form}: runs with the logits of its weights")
        scheme, kernel, note = self.kernels(model)
        self.rows.append((form, scheme, "yes", writes or "no", kernel, note, library))


def foreign(run):
    for form, (library, _) in make_forms.MAKERS.items():
        folder = run.scratch / form
        folder.mkdir()
        tensors, want, config = {}, {}, None
        for seed, module in enumerate(run.linears):
            made, config, value = make_forms.make(form, run.tensors[module + ".weight"], seed)
            tensors.update({f"{module}.{key}": tensor for key, tensor in made.items()})
            want[module + ".weight"] = value
        dense = {n: t for n, t in run.tensors.items() if n[:-len(".weight")] not in run.linears}
        save_file({**dense, **{n: t.clone() for n, t in tensors.items()}}, folder / "model.safetensors",
                  metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps({**run.config, "quantization_config": config}))
        run.companions(folder)
        # The others meet 16-bit activations.
        eight_bit = form in ("bnb_int8", "autofp8_static") or form.startswith("omniserve")
        writes = "`quantize`" if form == "bnb_int8" else ""
        if form.startswith("omniserve") and "scaled" not in form:
            writes = "`convert --to omniserve`"
        run.check(form, folder, want, library, writes, 2e-1 if eight_bit else 2e-3)


def quantized(run):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    for scheme in SCHEMES:
        folder = run.scratch / scheme
        common.run(run.octavo, "quantize", run.folder, "--scheme", scheme, "-o", folder)
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        parsed = QuantizationConfig.model_validate(config)
        compressor = BaseCompressor.load_from_registry(config["format"])
        stored, want = load_file(folder / "model.safetensors"), {}
        for module in run.linears:
            state = {n[len(module) + 1:]: t for n, t in stored.items() if n.startswith(module + ".")}
            want[module + ".weight"] = compressor.decompress(state, parsed.config_groups["group_0"])["weight"]
        # 8-bit activations move the logits; 16-bit ones only round.
        bound = 2e-3 if scheme.endswith(("A16", "ASYM")) else 2e-1
        run.check(f"compressed-tensors {scheme}", folder, want, "compressed-tensors",
                  "`quantize`", bound)


def gguf_file(run, path, kind):
    """The tiny model with linears in blocks of `kind`; returns their values by Hugging Face name."""
    import gguf
    names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
             "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    qtype = getattr(gguf.GGMLQuantizationType, kind)
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (("context_length", 256), ("embedding_length", 256), ("block_count", 2),
                       ("feed_forward_length", 512), ("head_count", 4), ("head_count_kv", 2)):
        getattr(writer, f"add_{key}")(value)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_tensor("token_embd.weight", run.tensors["model.embed_tokens.weight"].float().numpy())
    writer.add_tensor("output_norm.weight", run.tensors["model.norm.weight"].float().numpy())
    rng, want = np.random.default_rng(7), {}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        for hf, name in (("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")):
            writer.add_tensor(f"blk.{layer}.{name}.weight", run.tensors[f"{prefix}{hf}.weight"].float().numpy())
        for module in run.linears:
            if not module.startswith(prefix):
                continue
            weight = run.tensors[module + ".weight"].float().numpy()
            if kind.endswith("_K"):  # the library only reads these: random blocks with sane half floats
                raw = rng.integers(0, 256, (weight.shape[0], weight.shape[1] // block, size), dtype=np.uint8)
                half = np.frombuffer(np.float16(1e-3).tobytes(), np.uint8)
                at = size - 2 if kind == "Q6_K" else 0
                raw[..., at:at + 2] = half // (4 if kind == "Q6_K" else 1)
                if kind != "Q6_K":
                    raw[..., 2:4] = half
                blocks = raw.reshape(weight.shape[0], -1)
            else:
                blocks = gguf.quants.quantize(weight, qtype)
            writer.add_tensor(f"blk.{layer}.{names[module.split('.')[-1]]}.weight", blocks, raw_dtype=qtype)
            value = torch.from_numpy(gguf.quants.dequantize(blocks, qtype).copy())
            heads = {"q_proj": 4, "k_proj": 2}.get(module.split(".")[-1])
            if heads:
                value = value.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            want[module + ".weight"] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return want


def gguf_blocks(run):
    for kind in GGUF_TYPES:
        path = run.scratch / f"{kind}.gguf"
        want = gguf_file(run, path, kind)
        writes = f"`convert --to gguf-{kind.lower()}`" if kind in ("Q8_0", "Q4_0") else ""
        run.check(f"GGUF {kind}", path, want, "gguf", writes)


def auto_round_values(tensors, module, config):
    """The weight as auto-round's layers compute it from a converted module."""
    part = {n[len(module) + 1:]: t for n, t in tensors.items() if n.startswith(module + ".")}
    if config["quant_method"] == "awq":
        from auto_round.export.export_to_awq.utils import dequantize_gemm
        group = part["qweight"].shape[0] // part["scales"].shape[0]
        return dequantize_gemm(part["qweight"], part["qzeros"], part["scales"], 4, group).t()
    from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp
    source = qlinear_torch_zp if config["checkpoint_format"] == "gptq" else qlinear_torch
    k, n = part["g_idx"].shape[0], part["scales"].shape[1]
    layer = source.QuantLinear(config["bits"], k // part["scales"].shape[0], k, n, False)
    for name in ("qweight", "qzeros", "scales"):
        setattr(layer, name, part[name])
    return layer.forward(torch.eye(k, dtype=torch.float16)).t()


def converted(run):
    for scheme, target in (("W4A16", "gptq"), ("W4A16_ASYM", "gptq"), ("W3A16", "gptq"), ("W8A16", "gptq"),
                           ("W4A16", "awq"), ("W4A16_ASYM", "awq")):
        source, folder = run.scratch / scheme, run.scratch / f"{scheme}_{target}"
        common.run(run.octavo, "convert", source, "--to", target, "-o", folder)
        config = json.loads((folder / "config.json").read_text())["quantization_config"]
        tensors = load_file(folder / "model.safetensors")
        want = {m + ".weight": auto_round_values(tensors, m, config) for m in run.linears}
        label = config.get("checkpoint_format", "awq gemm")
        run.check(f"{label} from {scheme}", folder, want, "auto-round", f"`convert --to {target}`")
        original = run.values(source)
        have = run.values(folder)
        # The same codes and scales; only the type of the product differs, bf16 there and f16 here.
        close = all(torch.allclose(have[n], original[n], rtol=2**-7, atol=1e-6) for n in original)
        run.checks.expect(close, f"{label} from {scheme}: the source's weights")
        back = run.scratch / f"{scheme}_{target}_back"
        common.run(run.octavo, "convert", folder, "--to", "compressed-tensors", "-o", back)
        first, last = load_file(source / "model.safetensors"), load_file(back / "model.safetensors")
        same = set(first) == set(last) and all(
            torch.equal(first[n].float() if "scale" in n else first[n],
                        last[n].float() if "scale" in n else last[n]) for n in first)
        run.checks.expect(same, f"{scheme} -> {target} -> compressed-tensors: every tensor comes back")
    for source, target in ((run.folder, "gguf-q8_0"), (run.folder, "gguf-q4_0"),
                           (run.scratch / "W4A16", "gguf-q4_0"), (run.scratch / "W8A16", "gguf-q8_0")):
        gguf_converted(run, source, target)
    for scheme in ("FP8", "FP8_BLOCK"):
        fp8_converted(run, scheme)
    refusals(run)


def fp8_converted(run, scheme):
    source, folder = run.scratch / scheme, run.scratch / f"{scheme}_fp8"
    if not source.exists():  # static scales are calibrated
        common.run(run.octavo, "quantize", run.folder, "--scheme", scheme, "-o", source,
                   "--num-calibration-samples", "4", "--max-seq-length", "128")
    common.run(run.octavo, "convert", source, "--to", "fp8", "-o", folder)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    tensors, want = load_file(folder / "model.safetensors"), {}
    for module in run.linears:
        codes = tensors[module + ".weight"].float()
        if "weight_block_size" in config:
            rows, cols = config["weight_block_size"]
            scale = tensors[module + ".weight_scale_inv"].repeat_interleave(rows, 0).repeat_interleave(cols, 1)
            want[module + ".weight"] = codes * scale[:codes.shape[0], :codes.shape[1]]
        else:
            want[module + ".weight"] = codes * tensors[module + ".weight_scale"]
    blocks = "weight_block_size" in config
    run.check(f"fp8 from {scheme}", folder, want, "transformers" if blocks else "AutoFP8's definition",
              "`convert --to fp8`", 2e-1)
    logits = []
    for model in (source, folder):
        out = run.scratch / "logits.safetensors"
        common.run(run.octavo, "logits", model, "--prompt-ids", ",".join(map(str, IDS)), "-o", out)
        logits.append(load_file(out)["logits"])
    run.checks.expect(torch.equal(*logits), f"fp8 from {scheme}: the source's logits bit for bit")
    if blocks:  # transformers knows no other; without a GPU it expands to bf16
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        state = model.state_dict()
        equal = all(torch.equal(state[name], value.bfloat16()) for name, value in want.items())
        run.checks.expect(equal, f"fp8 from {scheme}: transformers reads the same weights")


def gguf_converted(run, source, target):
    import gguf
    path = run.scratch / f"{source.name}_{target}.gguf"
    common.run(run.octavo, "convert", source, "--to", target, "-o", path)
    reader = gguf.GGUFReader(path)
    blocks = {t.name: t for t in reader.tensors}
    kind = getattr(gguf.GGMLQuantizationType, target[5:].upper())
    if source == run.folder:
        weight = run.tensors["model.layers.0.mlp.up_proj.weight"].float().numpy()
        want = gguf.quants.quantize(weight, kind)
        run.checks.expect(np.array_equal(blocks["blk.0.ffn_up.weight"].data, want),
                          f"{path.stem}: blocks are those of the gguf library, byte for byte")
        values = {}
        for name in run.linears:
            data = gguf.quants.quantize(run.tensors[name + ".weight"].float().numpy(), kind)
            values[name + ".weight"] = torch.from_numpy(gguf.quants.dequantize(data, kind).copy())
    else:
        values = {n: v for n, v in run.values(source).items()}
    have = run.values(path)
    exact = source == run.folder
    close = all(torch.equal(have[n], values[n]) if exact else
                torch.allclose(have[n], values[n], rtol=2**-7, atol=1e-7) for n in values)
    run.checks.expect(close, f"{path.stem}: weights {'equal' if exact else 'of the source'} in Hugging Face order")
    run.checks.expect(run.runs(path, values, 5e-3), f"{path.stem}: runs")
    tokens = reader.fields["tokenizer.ggml.tokens"]
    run.checks.expect(len(tokens.data) == run.config["vocab_size"], f"{path.stem}: the vocabulary is complete")
    sample = run.scratch / "sample.txt"
    sample.write_text("Hello wörld, 1234 times <|im_start|>user\n\tdef f(x): return x\n" * 3)
    ids = []
    for model in (source, path):
        with open(sample) as text:
            ids.append(subprocess.run([run.octavo, "tokenize", str(model), "--ids"], stdin=text, check=True,
                                      capture_output=True, text=True).stdout)
    run.checks.expect(ids[0] == ids[1], f"{path.stem}: tokenizes like the folder")


def refusals(run):
    """What a form cannot say is refused with the reason."""
    for source, target, words in (("W4A16_ASYM", "gguf-q4_0", "symmetric"), ("W8A8", "gptq", "activations"),
                                  ("W3A16", "awq", "4 bits"), ("FP8_DYNAMIC", "gptq", "no integers"),
                                  ("FP8_DYNAMIC", "fp8", "one scale per row"),
                                  ("gptq_4bit_act_order", "awq", "act-order"), ("base", "gptq", "not quantized")):
        out = run.scratch / "refused"
        try:
            common.run(run.octavo, "convert", run.scratch / source, "--to", target, "-o", out)
            run.checks.expect(False, f"{source} to {target} is refused")
        except RuntimeError as error:
            run.checks.expect(words in str(error) and not out.exists(),
                              f"{source} to {target} is refused: {str(error).strip()[-110:]}")


HEADER = """# Checkpoint forms

Written by `tests/interop/checkpoint_forms.py --table` from a run on a machine with {isa}: each form is
made or read by the library named, its dequantized weights are equal to Octavo's bit for bit, and the
model runs with the kernel named (one in brackets `expanded to bf16` or run as its table's floats is not run at its own bits). A form not listed is refused by name.

`octavo convert MODEL --to gptq|awq|compressed-tensors|fp8|omniserve|qoq|gguf-q8_0|gguf-q4_0 -o OUT` moves codes,
zero points and scales between forms unchanged, or says why it cannot; the gguf forms also take a 16-bit
folder and round it as ggml does. omniserve's form has no quantization_config: a folder has it when tensors
are named `s1_scales` or `dequant_scale` ([formats.md](formats.md#omniserve)). `octavo dequantize MODEL -o FILE` writes the values compared here.

| form | scheme in `inspect` | reads | writes | kernel | checked against |
|---|---|---|---|---|---|
"""


def write_table(run, path):
    kernels = " ".join(row[4] for row in run.rows)
    levels = [name for key, name in (("_amx", "AMX"), ("_avx512", "AVX-512"), ("_avx2", "AVX2")) if key in kernels]
    text = HEADER.format(isa=" and ".join(levels))
    for form, scheme, reads, writes, kernel, note, library in run.rows:
        kernel = f"`{kernel}`" + (f" ({note})" if "expanded" in note or "table codes" in note else "")
        form = form.replace("_", " ").replace("gptq v2", "gptq_v2") if " " not in form else form
        text += f"| {form} | {scheme} | {reads} | {writes} | {kernel} | {library} |\n"
    pathlib.Path(path).write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("octavo")
    parser.add_argument("model")
    parser.add_argument("--table")
    parser.add_argument("--parts", default="foreign,quantized,gguf_blocks,converted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(options.octavo, common.as_folder(options.octavo, options.model, scratch), scratch)
        for part in options.parts.split(","):
            globals()[part](run)
        if options.table:
            write_table(run, options.table)
    return run.checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
