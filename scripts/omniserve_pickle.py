#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""omniserve's (QServe's) checkpoints between torch's pickle and safetensors; needs torch.

usage: omniserve_pickle.py SOURCE OUT

SOURCE is a folder with pytorch_model*.bin (or .pt), which becomes the folder OUT with model.safetensors for
`octavo`; or one with safetensors from `octavo convert --to omniserve`, which becomes pytorch_model.bin for
omniserve, its plain tensors cast to half floats. Other files of the folder are copied.
"""
import json
import pathlib
import shutil
import sys

MARKS = (".s1_scales", ".dequant_scale")
NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
         "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}


def fail(text):
    sys.exit(f"omniserve_pickle.py: {text}")


try:
    import torch
except ImportError:
    fail("torch is missing: pickle files are torch's own format (pip install torch)")


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= len(data) - 8:
        fail(f"{path}: {len(data)} bytes, the header claims {size}")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(data) - 8 - size:
            fail(f"{path}: tensor '{name}' lies beyond the file's end")
        raw = torch.frombuffer(bytearray(data[8 + size + begin:8 + size + end]), dtype=torch.uint8) if end > begin \
            else torch.empty(0, dtype=torch.uint8)
        tensors[name] = raw.view(getattr(torch, NAMES[entry["dtype"]])).reshape(entry["shape"])
    return tensors


def write_safetensors(tensors, path):
    codes = {getattr(torch, torch_name): code for code, torch_name in NAMES.items()}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    # Wide elements first, so that every tensor is aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in codes:
            fail(f"tensor '{name}' has type {tensor.dtype}")
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def read_pickle(path):
    # weights_only: a pickle could otherwise run any program.
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        fail(f"{path}: holds no plain dictionary of tensors")
    return state


def half(name, tensor):
    if not tensor.is_floating_point():
        return tensor
    cast = tensor.half()
    if torch.isfinite(tensor).all() and not torch.isfinite(cast).all():
        fail(f"tensor '{name}': largest magnitude {tensor.abs().max():g} is beyond half floats")
    return cast


def merge(files, read):
    tensors = {}
    for path in files:
        for name, tensor in read(path).items():
            if name in tensors:
                fail(f"{path}: tensor '{name}' is in another file too")
            tensors[name] = tensor
    if not any(name.endswith(MARKS) for name in tensors):
        fail(f"{files[0].parent}: no tensor is named ...{MARKS[0]} or ...{MARKS[1]}: not omniserve's form")
    return tensors


def main():
    if len(sys.argv) != 3 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__.strip())
    source, out = map(pathlib.Path, sys.argv[1:])
    if not source.is_dir():
        fail(f"{source}: is no folder")
    if out.exists():
        fail(f"{out}: exists already")
    safetensors = sorted(source.glob("*.safetensors"))
    pickles = sorted([*source.glob("*.bin"), *source.glob("*.pt")])
    if bool(safetensors) == bool(pickles):
        fail(f"{source}: want either *.safetensors or pytorch_model*.bin, found "
             f"{len(safetensors)} and {len(pickles)} files")
    if safetensors:
        tensors = {name: half(name, t) for name, t in merge(safetensors, read_safetensors).items()}
    else:
        tensors = merge(pickles, read_pickle)
    out.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path not in (*safetensors, *pickles) and not path.name.endswith(".index.json"):
            shutil.copy(path, out)
    if safetensors:
        torch.save(tensors, out / "pytorch_model.bin")
    else:
        write_safetensors(tensors, out / "model.safetensors")
    print(f"{out}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
