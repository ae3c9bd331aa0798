#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks octavo's quantized checkpoints against compressed-tensors, transformers and llm-compressor.

    compressed_tensors_interop.py OCTAVO MODEL [--schemes W8A8,W4A16] [--llm-compressor]

MODEL is a 16-bit or f32 Hugging Face folder of a Llama or Qwen2 model. For each scheme the script
runs `octavo quantize` and then asks the libraries:

  1. compressed-tensors parses the config and decompresses every module; quantizing the original with
     the stored scales gives the stored codes again, and the scales are those of its own formula.
  2. transformers loads the folder; its logits are finite and close to the original's.
  3. With --llm-compressor: a data-free oneshot run of llm-compressor writes the same tensors, byte for
     byte. Its GPU kernel divides in f32, as octavo does; its CPU path rounds the quotient to the
     model's type first. The f32 quotient is put in its place here; --cpu-quotient leaves it and
     checks that every difference is one step, caused by that rounding.

QOQ_G128 is checked in its W8A8 form. Runs in the interpreter it is started with; exit code 1 on failure.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.quantization.quant_args import round_to_quantized_type_args
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors import safe_open

import common

SCHEMES = ["W8A8", "FP8_DYNAMIC", "FP8_BLOCK", "W4A16", "W4A16_ASYM", "W3A16", "W8A16", "W4A8",
           "QOQ_G128"]
# Refused, with good reason, where no group or block divides the columns.
CUT = {"W4A16", "W4A16_ASYM", "W3A16", "W8A16", "W4A8", "QOQ_G128", "FP8_BLOCK"}
TEXT = """Once upon a time there was a little village at the edge of a great forest. The people who lived
there grew wheat and barley, kept bees, and told each other stories when the evenings became long."""


class Failure(Exception):
    """A check that did not hold."""


def read_tensors(folder):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({name: file.get_tensor(name) for name in file.keys()})
    return tensors


def same_bytes(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def run_octavo(octavo, model, scheme, out):
    command = [octavo, "quantize", model, "--scheme", scheme, "-o", out, "--json", out + ".json"]
    if scheme == "QOQ_G128":
        command += ["--as", "W8A8"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(pathlib.Path(out + ".json").read_text())


def f32_quotient(x, scale, zero_point, q_min, q_max, args, dtype=None, global_scale=None):
    """llm-compressor's quantization with the arithmetic of its GPU kernel."""
    assert global_scale is None
    quotient = x.float() / scale.float()
    if zero_point is not None:
        quotient += zero_point.float()
    codes = round_to_quantized_type_args(tensor=quotient, args=args, min=q_min, max=q_max)
    return codes.to(dtype if dtype is not None else x.dtype)


def use_f32_quotient():
    import compressed_tensors.quantization.lifecycle.forward_helpers as helpers

    helpers._quantize = f32_quotient


def spans(weight, args):
    """The weight as [.., .., elements that share a scale], the scale's shape in front."""
    if args.strategy == "channel":
        return weight.unsqueeze(1)
    if args.strategy == "group":
        return weight.unflatten(-1, (-1, args.group_size))
    rows, cols = args.block_structure
    padded = torch.nn.functional.pad(
        weight, (0, -weight.shape[1] % cols, 0, -weight.shape[0] % rows))
    blocks = padded.unflatten(-1, (-1, cols)).unflatten(0, (-1, rows))
    return blocks.permute(0, 2, 1, 3).flatten(2)


def check_modules(original, written, config):
    """Check 1. Returns the number of modules and the mean relative error of the weights."""
    scheme = config.config_groups["group_0"]
    compressor = BaseCompressor.load_from_registry(config.format)
    codes_name = "weight_packed" if config.format == "pack-quantized" else "weight"
    modules = [name[: -len(".weight_scale")] for name in written if name.endswith(".weight_scale")]
    if not modules:
        raise Failure("no quantized module")
    error = 0.0
    for module in modules:
        weight = original[module + ".weight"]
        names = (codes_name, "weight_scale", "weight_shape", "weight_zero_point")
        state = {n: written[f"{module}.{n}"] for n in names if f"{module}.{n}" in written}
        dense = compressor.decompress(dict(state), scheme)["weight"]
        if dense.shape != weight.shape or not torch.isfinite(dense.float()).all():
            raise Failure(f"{module}: decompresses to {tuple(dense.shape)}")
        error += float((dense.float() - weight.float()).norm() / weight.float().norm())
        qoq = config.metadata_is_qoq
        if not qoq:
            grouped = spans(weight, scheme.weights)
            scale, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), scheme.weights)
            if not same_bytes(scale.reshape(state["weight_scale"].shape), state["weight_scale"]):
                raise Failure(f"{module}: scales differ from compressed-tensors' formula")
            restored = {"weight": weight, "weight_scale": state["weight_scale"]}
            if "weight_zero_point" in state:
                _, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), scheme.weights)
                restored["weight_zero_point"] = zero.to(torch.int8)
            for name, tensor in compressor.compress(restored, scheme).items():
                if not same_bytes(tensor, state[name]):
                    raise Failure(f"{module}.{name}: compresses to other bytes")
    return len(modules), error / len(modules)


def check_transformers(model, folder):
    """Check 2. Returns the mean KL divergence from the original, in nats per token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        want = AutoModelForCausalLM.from_pretrained(model, dtype="auto")(ids).logits.float()
        have = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")(ids).logits.float()
    if not torch.isfinite(have).all():
        raise Failure("logits are not finite")
    p, q = want.log_softmax(-1), have.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def run_llm_compressor(model, scheme, group_size, out):
    from compressed_tensors.quantization import preset_name_to_scheme
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    group = preset_name_to_scheme(scheme, ["Linear"])
    if group_size:
        group.weights.group_size = group_size
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    oneshot(model=loaded, recipe=QuantizationModifier(config_groups={"group_0": group},
                                                      ignore=["lm_head"]))
    loaded.save_pretrained(out, save_compressed=True)
    return read_tensors(out)


def unpacked(tensor, bits):
    """Codes of a packed tensor whose width divides a word; others as they are."""
    if tensor.dtype != torch.int32 or bits not in (2, 4, 8):
        return tensor
    shifts = torch.arange(0, 32, bits)
    return (tensor.long().unsqueeze(-1) >> shifts) & ((1 << bits) - 1)


def check_llm_compressor(written, reference, config, exact):
    """Check 3. Returns the share of codes that differ (0 when `exact`)."""
    if set(written) != set(reference):
        raise Failure(f"tensor names differ: {sorted(set(written) ^ set(reference))[:4]}")
    bits = config.config_groups["group_0"].weights.num_bits
    differing, total = 0, 0
    for name, tensor in written.items():
        other = reference[name]
        is_code = name.endswith((".weight", ".weight_packed"))
        if not is_code or exact:
            if not same_bytes(tensor, other):
                raise Failure(f"{name}: bytes differ from llm-compressor's")
            continue
        a, b = unpacked(tensor, bits), unpacked(other, bits)
        if a.dtype == torch.float8_e4m3fn:
            a, b = a.view(torch.uint8), b.view(torch.uint8)
        step = (a.short() - b.short()).abs() if a.dtype != torch.bfloat16 else (a != b).short()
        if int(step.max()) > 1:
            raise Failure(f"{name}: codes differ by more than one step")
        differing, total = differing + int((step != 0).sum()), total + step.numel()
    return differing / max(total, 1)


def check_scheme(options, scheme, folder):
    out = str(pathlib.Path(folder) / scheme)
    report = run_octavo(options.octavo, options.model, scheme, out)
    text = json.loads((pathlib.Path(out) / "config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate(text)
    object.__setattr__(config, "metadata_is_qoq", scheme == "QOQ_G128")
    original, written = read_tensors(options.model), read_tensors(out)
    count, error = check_modules(original, written, config)
    kld = check_transformers(options.model, out)
    line = f"{scheme:12} {count:4} modules  error {error:.4f}  KL {kld:.4f}"
    if options.llm_compressor and scheme != "QOQ_G128":
        reference = run_llm_compressor(options.model, scheme, report["group_size"] or 0, out + "_ref")
        share = check_llm_compressor(written, reference, config, not options.cpu_quotient)
        line += f"  llm-compressor: {'equal' if share == 0 else f'{share:.2e} of codes one step off'}"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("octavo")
    parser.add_argument("model")
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--llm-compressor", action="store_true")
    parser.add_argument("--cpu-quotient", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        options.model = str(common.as_folder(options.octavo, options.model, folder))
        for scheme in options.schemes.split(","):
            # Check 1 always takes the f32 quotient; llm-compressor's own run may keep its own.
            if not options.cpu_quotient:
                use_f32_quotient()
            try:
                check_scheme(options, scheme, folder)
            except subprocess.CalledProcessError as error:
                skippable = scheme in CUT
                print(f"{scheme:12} {'skipped: no group or block divides the layers' if skippable else error}")
                failed += 0 if skippable else 1
            except Failure as failure:
                print(f"{scheme:12} FAILED: {failure}")
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
