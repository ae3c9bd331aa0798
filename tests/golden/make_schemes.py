#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/schemes: tiny modules compressed by compressed-tensors, and what it decompresses.

    make_schemes.py tests/golden/schemes

One folder per form with config.json and model.safetensors, as a Hugging Face model has them. Beside
the stored tensors, `expected.weight` F32 holds compressed-tensors' dequantized values.
"""
import json
import pathlib
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

TOKEN8 = {"num_bits": 8, "strategy": "token", "dynamic": True}
FORMS = {  # name: (format, scale dtype, weight args, input args)
    "int8_channel_bf16": ("int-quantized", torch.bfloat16, {"num_bits": 8, "strategy": "channel"}, TOKEN8),
    "int8_channel_asym_f16": ("int-quantized", torch.float16,
                              {"num_bits": 8, "strategy": "channel", "symmetric": False}, TOKEN8),
    "int8_tensor_f32": ("int-quantized", torch.float32, {"num_bits": 8, "strategy": "tensor"}, TOKEN8),
    "int4_group_int_quantized": ("int-quantized", torch.bfloat16,
                                 {"num_bits": 4, "strategy": "group", "group_size": 32}, TOKEN8),
    "int4_group_sym": ("pack-quantized", torch.bfloat16,
                       {"num_bits": 4, "strategy": "group", "group_size": 32}, None),
    "int4_group_asym": ("pack-quantized", torch.bfloat16,
                        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False}, None),
    "int4_channel_asym_f32": ("pack-quantized", torch.float32,
                              {"num_bits": 4, "strategy": "channel", "symmetric": False}, None),
    "int3_group_sym": ("pack-quantized", torch.float16,
                       {"num_bits": 3, "strategy": "group", "group_size": 32}, None),
    "int3_group_asym": ("pack-quantized", torch.bfloat16,
                        {"num_bits": 3, "strategy": "group", "group_size": 32, "symmetric": False}, None),
    "int5_channel": ("pack-quantized", torch.bfloat16, {"num_bits": 5, "strategy": "channel"}, None),
    "int8_group": ("pack-quantized", torch.bfloat16,
                   {"num_bits": 8, "strategy": "group", "group_size": 32}, None),
    "fp8_channel": ("float-quantized", torch.bfloat16,
                    {"num_bits": 8, "type": "float", "strategy": "channel"}, {**TOKEN8, "type": "float"}),
    "fp8_tensor": ("naive-quantized", torch.float32,
                   {"num_bits": 8, "type": "float", "strategy": "tensor"}, None),
    "fp8_block": ("float-quantized", torch.bfloat16,
                  {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 32]},
                  {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 128, "dynamic": True}),
}


def spans(weight, args):
    if args.strategy == "tensor":
        return weight.reshape(1, -1)
    if args.strategy == "channel":
        return weight.unsqueeze(1)
    if args.strategy == "group":
        return weight.unflatten(-1, (-1, args.group_size))
    rows, cols = args.block_structure
    padded = torch.nn.functional.pad(weight, (0, -weight.shape[1] % cols, 0, -weight.shape[0] % rows))
    return padded.unflatten(-1, (-1, cols)).unflatten(0, (-1, rows)).permute(0, 2, 1, 3).flatten(2)


def make(folder, name, rows=21, cols=96):
    form, dtype, weights, inputs = FORMS[name]
    torch.manual_seed(len(name))
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights),
                                input_activations=QuantizationArgs(**inputs) if inputs else None)
    weight = (torch.randn(rows, cols) * 0.05).to(dtype)
    grouped = spans(weight, scheme.weights)
    scale, zero = calculate_qparams(grouped.amin(-1), grouped.amax(-1), scheme.weights)
    state = {"weight": weight, "weight_scale": scale}
    if not scheme.weights.symmetric:
        state["weight_zero_point"] = zero.to(torch.int8)
    compressor = BaseCompressor.load_from_registry(form)
    stored = compressor.compress(state, scheme)
    expected = compressor.decompress(dict(stored), scheme)["weight"]
    tensors = {f"layer.{key}": value.contiguous() for key, value in stored.items()}
    tensors["expected.weight"] = expected.float().contiguous()
    path = pathlib.Path(folder) / name
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    config = {"quantization_config": {
        "quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                      "input_activations": inputs}}}}
    (path / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    for form_name in FORMS:
        make(sys.argv[1], form_name)
