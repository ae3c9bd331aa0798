#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calibrates with octavo and with llm-compressor on the same token ids and compares what they choose.

usage: llm_compressor_parity.py OCTAVO MODEL [--num-samples 16] [--max-seq-length 256] [--no-perplexity]

  input scales  FP8 with static activations, FP8 KV cache: equal but for the rounding of activations to bf16
  SmoothQuant   scales of every norm against SmoothQuant's formula on transformers' own activations
  perplexity    W4A16 by GPTQ and W4A16_ASYM by AWQ: within 0.5 % of llm-compressor's, or better

Needs llmcompressor, which is not in requirements.txt because it is heavy and narrow in its versions: skipped
without it. Half an hour for a model of 0.5B parameters, most of it llm-compressor's GPTQ.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors import safe_open

import common

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALPHA = 0.8
# The largest of all tokens behind layers of FP8: where one rounds the other way, it moves by a step, 2^-4.
MAX_SCALE_DIFFERENCE = 2 ** -4
MAX_MEDIAN_DIFFERENCE = 0.004  # one step of a bf16 scale is up to 2^-8


def read(folder, suffixes):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({n: file.get_tensor(n).float() for n in file.keys() if n.endswith(suffixes)})
    return tensors


def make_samples(model, count, length, path):
    """Windows of the documentation, which every checkout has."""
    text = "\n\n".join(p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))])
    ids = transformers.AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False).input_ids
    count = min(count, len(ids) // length)
    rows = [ids[i * length:(i + 1) * length] for i in range(count)]
    path.write_text("".join(json.dumps({"token_ids": row}) + "\n" for row in rows))
    return rows


def octavo_quantize(options, out, *flags):
    common.run(options.octavo, "quantize", options.model, "-o", out, "--calibration-data", options.samples,
               "--num-calibration-samples", len(options.rows), "--max-seq-length", options.max_seq_length, *flags)
    return out


def llm_compressor(options, out, recipe):
    from datasets import Dataset
    from llmcompressor import oneshot

    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    data = Dataset.from_dict({"input_ids": options.rows, "attention_mask": [[1] * len(r) for r in options.rows]})
    oneshot(model=model, recipe=recipe, dataset=data, max_seq_length=options.max_seq_length,
            num_calibration_samples=len(options.rows), shuffle_calibration_samples=False)
    model.save_pretrained(out, save_compressed=True)
    return out


def compare_scales(what, ours, theirs, checks):
    checks.expect(ours and set(ours) == set(theirs), f"{what}: the same {len(ours)} tensors")
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return
    ratio = torch.cat([(ours[n].flatten() / theirs[n].flatten()).log().abs() for n in shared])
    equal = float((ratio == 0).float().mean())
    line = f"{what}: {100 * equal:.0f} % equal, median difference {ratio.median():.1e}, largest {ratio.max():.1e}"
    checks.expect(ratio.median() <= MAX_MEDIAN_DIFFERENCE and ratio.max() <= MAX_SCALE_DIFFERENCE, line)


def check_static(options, scratch, checks):
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.quantization import QuantizationModifier

    ours = octavo_quantize(options, scratch / "fp8", "--scheme", "FP8", "--kv-cache-scheme", "fp8")
    # Its own default for caches is a moving average of every batch's range, in which the order of samples counts.
    kv = QuantizationArgs(num_bits=8, type="float", strategy="tensor", dynamic=False, symmetric=True,
                          observer="static_minmax")
    recipe = QuantizationModifier(targets=["Linear"], scheme="FP8", ignore=["lm_head"], kv_cache_scheme=kv)
    theirs = llm_compressor(options, scratch / "fp8_peer", recipe)
    for what, suffix in (("input scales", ".input_scale"), ("key scales", ".k_scale"), ("value scales", ".v_scale"),
                         ("weight scales", ".weight_scale")):
        compare_scales(what, read(ours, suffix), read(theirs, suffix), checks)


def channel_maxima(options):
    """max |x| per channel of every norm's output, and max |w| per column of the linears that read it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype="auto").eval()
    inputs, weights = {}, {}
    modules = dict(model.named_modules())
    for name in modules:
        if not name.endswith(("input_layernorm", "post_attention_layernorm")):
            continue
        layer = name.rsplit(".", 1)[0]
        readers = (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] if name.endswith("input_layernorm")
                   else ["mlp.gate_proj", "mlp.up_proj"])
        weights[name] = torch.stack([modules[f"{layer}.{r}"].weight.abs().amax(0).float() for r in readers]).amax(0)

        def hook(_module, _args, output, name=name):
            now = output.detach().flatten(0, -2).abs().amax(0).float()
            inputs[name] = torch.maximum(inputs.get(name, now), now)

        modules[name].register_forward_hook(hook)
    with torch.no_grad():
        for row in options.rows:
            model(torch.tensor([row]))
    norms = {name: modules[name].weight.detach().float() for name in inputs}
    return inputs, weights, norms


def check_smoothquant(options, scratch, checks):
    """The first layer's inputs are the original's; later layers see quantized ones, here and in llm-compressor."""
    out = octavo_quantize(options, scratch / "smooth", "--scheme", "W8A8", "--algorithm", "smoothquant",
                          "--smoothing-strength", ALPHA)
    inputs, weights, norms = channel_maxima(options)
    written = read(out, "layernorm.weight")
    ratios, first = [], None
    for name, original in norms.items():
        floor = 1e-5
        want = (inputs[name] ** ALPHA / weights[name].clamp(min=floor) ** (1 - ALPHA)).clamp(min=floor)
        have = original / written[name + ".weight"]
        used = (original != 0) & (inputs[name] > 0)
        difference = (have / want)[used].log().abs()
        first = difference if first is None else first
        ratios.append(difference)
    everything = torch.cat(ratios)
    # transformers' norm rounds twice, the written weight is rounded once; each by up to 2^-8.
    checks.expect(first.max() <= 3 * 2 ** -8, f"SmoothQuant scales of the first norm: largest difference {first.max():.1e}")
    checks.expect(everything.median() <= 0.02, f"SmoothQuant scales: median difference {everything.median():.1e}")


def check_perplexity(options, scratch, checks):
    """By bench/peer_quantization.py, which runs both in processes of their own."""
    text = common.shared() and common.shared() / "data/wikitext-2-raw/test.joined.txt"
    if not text or not text.is_file():
        print("  skip perplexity: OCTAVO_SHARED is not set")
        return
    work = scratch / "peer"
    work.mkdir()
    (work / f"tokens_{len(options.rows)}x{options.max_seq_length}.jsonl").write_text(options.samples.read_text())
    subprocess.run([sys.executable, ROOT / "bench/peer_quantization.py", "--model", options.model, "--work", work,
                    "--octavo", options.octavo, "--num-samples", str(len(options.rows)), "--max-seq-length",
                    str(options.max_seq_length), "--only", "W4A16 GPTQ,W4A16_ASYM AWQ", "--perplexity", text,
                    "--max-windows", "16"], check=True)
    for job in ("W4A16_GPTQ", "W4A16_ASYM_AWQ"):
        size = f"{len(options.rows)}x{options.max_seq_length}"
        ours, theirs = (json.loads((work / f"{job}.{tool}.{size}.0.json").read_text())["perplexity"]
                        for tool in ("octavo", "peer"))
        checks.expect(ours <= 1.005 * theirs, f"{job}: perplexity {ours:.3f}, llm-compressor {theirs:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("octavo", type=os.path.abspath)
    parser.add_argument("model")
    parser.add_argument("--num-samples", type=int, default=16)
    parser.add_argument("--max-seq-length", type=int, default=256)
    parser.add_argument("--no-perplexity", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("llmcompressor") is None:
        print("skipped: llmcompressor is not installed")
        return common.SKIPPED
    transformers.logging.set_verbosity_error()
    checks = common.Checks()
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        options.model = str(common.as_folder(options.octavo, options.model, scratch))
        options.samples = scratch / "samples.jsonl"
        options.rows = make_samples(options.model, options.num_samples, options.max_seq_length, options.samples)
        check_static(options, scratch, checks)
        check_smoothquant(options, scratch, checks)
        if not options.no_perplexity:
            check_perplexity(options, scratch, checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
