#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""omniserve's tensors as `octavo convert` writes them, unpacked here by the documented formula.

usage: omniserve_form.py OCTAVO MODEL      (MODEL lends its tokenizer)

A tiny model with gains of 1 is quantized as QOQ_G128, QOQ and W8A8 and converted. Checked for each: the
tiles, scales and zeros decode to `octavo dequantize`'s values bit for bit, and to the source folder's; four
codes times a scale in one 32-bit word, as omniserve's kernels multiply, give the same int8; `octavo logits`
of the source, of the converted folder, and of the one brought back are the same bytes; and
scripts/omniserve_pickle.py carries the tensors to pytorch_model.bin and back.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import common

IDS = ",".join(map(str, range(3, 43)))
PICKLE = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "omniserve_pickle.py"


def make_model(folder, lender):
    config = LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, vocab_size=49152, max_position_embeddings=256,
                         tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(1)
    model = LlamaForCausalLM(config).bfloat16()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.copy_(torch.randn(weight.shape) * 0.05)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (pathlib.Path(lender) / name).exists():
            shutil.copy(pathlib.Path(lender) / name, folder)


def codes_of(qweight):
    """uint4 [n, k]: every element's byte and nibble computed from its row and column."""
    n, half_k = qweight.shape
    k = half_k * 2
    data = qweight.numpy().view(np.uint8).reshape(-1)
    o, i = np.meshgrid(np.arange(n), np.arange(k), indexing="ij")
    row, col = o % 32, i % 32
    a, b, c = row // 16, row // 8 % 2, row % 8
    d, e, f = col // 16, col // 4 % 4, col % 4
    byte = ((o // 32) * (k // 32) + i // 32) * 512 + ((((c * 4 + e) * 2 + d) * 2 + b) * 4 + f)
    return data[byte] >> (4 * a) & 15


def by_row(stored, n):
    """s2 [groups, n] -> [n, groups]."""
    values, column = stored.numpy(), np.arange(n)
    row = column // 32 * 32 + column % 32 % 4 * 8 + column % 32 // 4
    out = np.empty_like(values)
    out[:, row] = values
    return out.T


def kernel_int8(codes, scale, zero):
    """Four codes times one scale in a word, then four wrapping byte additions."""
    lanes = np.ascontiguousarray(codes.astype(np.uint8)).view("<u4")
    width = codes.shape[1] // scale.shape[1] // 4
    words = lanes * np.repeat(scale.astype(np.uint32), width, axis=1)
    return words.astype("<u4").view(np.uint8) + np.repeat(zero.view(np.uint8), width * 4, axis=1)


def level(tensors, module, checks):
    """Integers [n, k] and F16 scales [n] of a module."""
    part = {name[len(module) + 1:]: t for name, t in tensors.items() if name.startswith(module + ".")}
    if "dequant_scale" in part:
        return part["weight"].numpy().astype(np.int32), part["dequant_scale"]
    codes = codes_of(part["qweight"]).astype(np.int32)
    if "s1_szeros" in part:
        zeros = torch.round(part["s1_szeros"].float() / part["s1_scales"].float())
        exact = torch.equal((zeros * part["s1_scales"].float()).half(), part["s1_szeros"])
        checks.append(exact and 0 <= zeros.min() and zeros.max() <= 15)
        return codes - zeros.numpy().astype(np.int32)[:, None], part["s1_scales"]
    n = codes.shape[0]
    scale, zero = by_row(part["s2_scales"], n), by_row(part["s2_zeros"], n)
    size = codes.shape[1] // scale.shape[1]
    product = codes * np.repeat(scale, size, axis=1).astype(np.int32)
    value = (product + np.repeat(zero, size, axis=1)).astype(np.int8)
    checks.append(product.max() <= 255 and np.array_equal(kernel_int8(codes, scale, zero).view(np.int8), value))
    return value.astype(np.int32), part["s1_scales"]


def values(octavo, folder, out):
    common.run(octavo, "dequantize", folder, "-o", out)
    return load_file(out)


def logits(octavo, folder, out):
    common.run(octavo, "logits", folder, "--prompt-ids", IDS, "-o", out)
    return load_file(out)["logits"]


def check_values(octavo, source, folder, scratch, checks):
    tensors = load_file(folder / "model.safetensors")
    have = values(octavo, folder, scratch / "values.safetensors")
    original = values(octavo, source, scratch / "original.safetensors")
    modules = sorted({n.rsplit(".", 1)[0] for n in tensors if n.endswith((".s1_scales", ".dequant_scale"))})
    sound, equal, same = [], [], []
    for module in modules:
        integers, scale = level(tensors, module, sound)
        product = torch.from_numpy(integers).float() * scale.float()[:, None]
        name = module + ".weight"
        equal.append(torch.equal(product.half().float() + 0.0, have[name].float() + 0.0))
        same.append(torch.equal(product.bfloat16().float() + 0.0, original[name].float() + 0.0))
    checks.expect(len(modules) == 14 and all(sound), f"{source.name}: zeros and products are what kernels take")
    checks.expect(all(equal), f"{source.name}: unpacked values equal octavo's bit for bit")
    checks.expect(all(same), f"{source.name}: unpacked values are the source's")


def pickle(*arguments):
    return subprocess.run([sys.executable, str(PICKLE), *map(str, arguments)], capture_output=True, text=True)


def check_pickle(octavo, folder, scratch, checks):
    there, back = scratch / f"{folder.name}_bin", scratch / f"{folder.name}_safetensors"
    first, second = pickle(folder, there), pickle(there, back)
    checks.expect(first.returncode == 0 and second.returncode == 0,
                  f"{folder.name}: to pytorch_model.bin and back {first.stderr}{second.stderr}")
    state = torch.load(there / "pytorch_model.bin", weights_only=True)
    before, after = load_file(folder / "model.safetensors"), load_file(back / "model.safetensors")
    halves = all(t.dtype in (torch.float16, torch.int8) for t in state.values())
    same = set(before) == set(after) and all(
        torch.equal(before[n].half() if before[n].is_floating_point() else before[n], after[n]) for n in before)
    checks.expect(halves and same, f"{folder.name}: every tensor comes back, plain ones in half floats")
    have = logits(octavo, back, scratch / "back.safetensors").double()
    want = logits(octavo, folder, scratch / "want.safetensors").double()
    checks.expect(float((have - want).abs().max() / want.abs().max()) < 2e-2, f"{back.name}: runs")
    again = pickle(folder, there)
    checks.expect(again.returncode != 0 and "exists already" in again.stderr, "an existing folder is left alone")


def body(octavo, model, scratch, checks):
    scratch = pathlib.Path(scratch)
    base = scratch / "base"
    make_model(base, common.as_folder(octavo, model, scratch))
    for scheme in ("QOQ_G128", "QOQ", "W8A8"):
        source, folder, back = scratch / scheme, scratch / f"{scheme}_omniserve", scratch / f"{scheme}_back"
        common.run(octavo, "quantize", base, "--scheme", scheme, "-o", source)
        common.run(octavo, "convert", source, "--to", "omniserve", "-o", folder)
        common.run(octavo, "convert", folder, "--to", "qoq", "-o", back)
        config = json.loads((folder / "config.json").read_text())
        checks.expect("quantization_config" not in config, f"{scheme}: no quantization_config")
        check_values(octavo, source, folder, scratch, checks)
        bits = [logits(octavo, path, scratch / "logits.safetensors") for path in (source, folder, back)]
        checks.expect(torch.equal(bits[0], bits[1]), f"{scheme}: the converted folder's logits are the source's")
        checks.expect(torch.equal(bits[0], bits[2]), f"{scheme}: and so are those of the folder brought back")
        check_pickle(octavo, folder, scratch, checks)
    refused = pickle(base, scratch / "refused")
    checks.expect(refused.returncode != 0 and "not omniserve's form" in refused.stderr, "other folders are refused")
    hidden = subprocess.run([sys.executable, "-S", "-E", str(PICKLE), str(base), str(scratch / "refused")],
                            capture_output=True, text=True)  # without site-packages
    checks.expect(hidden.returncode != 0 and "torch is missing" in hidden.stderr, "without torch it says so")


if __name__ == "__main__":
    common.main(body)
