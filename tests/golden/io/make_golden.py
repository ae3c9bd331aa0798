#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of the io tests with the formats' own libraries.

Usage: make_golden.py OUT_FOLDER   (needs numpy, torch, safetensors and gguf)

  ggml_types.gguf      per block type T: tensor "T" [4, 512] of random blocks, and "T.expected", the f32
                       values that the gguf package dequantizes them to; plus metadata of every type
  dtypes.safetensors   one tensor per dtype that safetensors.torch can write
"""
import pathlib
import sys

import gguf
import numpy as np
import safetensors.torch
import torch

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
ROWS, COLS = 4, 512
# Byte offsets of the f16 fields in a block: random bytes there would be NaN and infinities.
F16_FIELDS = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
              "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_blocks(name, rng):
    elems, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (ROWS * COLS // elems, size), dtype=np.uint8)
    for offset in F16_FIELDS[name]:
        values = (rng.standard_normal(len(blocks)) * 0.1).astype(np.float16)
        values[::5] = values[::5] * np.float16(1e-5)  # subnormal halves as well
        blocks[:, offset:offset + 2] = values.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def write_gguf(path):
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4000000000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_float32("test.f32", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "caf\u00e9")
    writer.add_uint64("test.u64", 2**63)
    writer.add_int64("test.i64", -2**62)
    writer.add_float64("test.f64", 0.1)
    writer.add_array("test.strings", ["a", "", "\u20ac uro"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.5])
    for name in TYPES:
        blocks = random_blocks(name, rng)
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(name, blocks, raw_dtype=kind)
        expected = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        assert np.isfinite(expected).all()
        writer.add_tensor(name + ".expected", expected)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors(path):
    base = torch.arange(-8, 8).reshape(4, 4)
    names = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
             "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"]
    tensors = {name: base.abs().to(getattr(torch, name)) if name[0] in "ub"
               and name != "bfloat16" else base.to(getattr(torch, name)) for name in names}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "note": "caf\u00e9"})


def main():
    out = pathlib.Path(sys.argv[1])
    write_gguf(out / "ggml_types.gguf")
    write_safetensors(out / "dtypes.safetensors")


if __name__ == "__main__":
    main()
