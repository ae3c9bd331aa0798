#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of `octavo quantize` on a model with the shapes of Llama-3-8B and fewer layers: a Markdown table.

usage: quantize_memory.py --work FOLDER [--octavo PROGRAM] [--layers 4] [--num-samples 4] [--max-seq-length 512]
                          [--only NAME[,NAME...]] [--keep]

Writes random bf16 weights (4.0 GB for 4 layers; memory does not grow with their number) and quantizes them without
data and by every algorithm. Peak is the process's largest resident set. The limits are checked: 2 GiB without data,
6 GiB calibrated. Few samples suffice: their residual stream lies in files, and batches have 2048 tokens.
"""
import argparse
import array
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
GIB = 1 << 30
HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 4096, 14336, 32, 8, 128, 128256
# Scheme, algorithm, limit.
JOBS = {
    "FP8_DYNAMIC": ("FP8_DYNAMIC", "rtn", 2 * GIB),
    "W8A8": ("W8A8", "rtn", 2 * GIB),
    "W4A16": ("W4A16", "rtn", 2 * GIB),
    "FP8 static": ("FP8", "rtn", 6 * GIB),
    "W8A8 SmoothQuant": ("W8A8", "smoothquant", 6 * GIB),
    "W8A8 SmoothQuant+GPTQ": ("W8A8", "smoothquant+gptq", 6 * GIB),
    "W4A16 GPTQ": ("W4A16", "gptq", 6 * GIB),
    "W4A16 AWQ": ("W4A16", "awq", 6 * GIB),
}


def tensors_of(layers):
    """Names, shapes, and the scale of the values (0: ones)."""
    kv = KV_HEADS * HEAD_DIM
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN), 0.02
    for i in range(layers):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (HIDDEN,), 0
        for name, shape in (("q_proj", (HIDDEN, HIDDEN)), ("k_proj", (kv, HIDDEN)), ("v_proj", (kv, HIDDEN)),
                            ("o_proj", (HIDDEN, HIDDEN))):
            yield f"{layer}self_attn.{name}.weight", shape, 0.015
        yield layer + "post_attention_layernorm.weight", (HIDDEN,), 0
        for name, shape in (("gate_proj", (INNER, HIDDEN)), ("up_proj", (INNER, HIDDEN)),
                            ("down_proj", (HIDDEN, INNER))):
            yield f"{layer}mlp.{name}.weight", shape, 0.015
    yield "model.norm.weight", (HIDDEN,), 0
    yield "lm_head.weight", (VOCAB, HIDDEN), 0.015


def bf16(values):
    """Cut to 16 bits: random numbers need no rounding."""
    words = array.array("I", array.array("f", values).tobytes())
    return array.array("H", (word >> 16 for word in words)).tobytes()


def write_model(folder, layers):
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    blocks = {scale: bf16([rng.gauss(0, scale) for _ in range((1 << 19) + 7)]) for scale in (0.02, 0.015)}
    header, offset, plan = {"__metadata__": {"format": "pt"}}, 0, []
    for name, shape, scale in tensors_of(layers):
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
        plan.append((size, bf16([1.0]) * (size // 2) if scale == 0 else blocks[scale]))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for size, block in plan:
            while size > 0:  # the block's length is odd, so rows do not repeat
                file.write(block[:min(size, len(block))])
                size -= len(block)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
              "intermediate_size": INNER, "num_hidden_layers": layers, "num_attention_heads": HEADS,
              "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
              "rope_theta": 500000.0, "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
              "tie_word_embeddings": False, "hidden_act": "silu"}
    (folder / "config.json").write_text(json.dumps(config))
    vocab = {f"<{i}>": i for i in range(256)}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}}))


def peak_of(command, log):
    """Seconds and largest resident set of a process."""
    start = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"exit {process.returncode}: {pathlib.Path(log).read_text(errors='replace')[-1000:]}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--num-samples", type=int, default=4)
    parser.add_argument("--max-seq-length", type=int, default=512)
    parser.add_argument("--only", type=lambda s: s.split(","), default=list(JOBS))
    parser.add_argument("--keep", action="store_true", help="keep the random model for the next run")
    args = parser.parse_args()
    model, out = args.work / f"llama3_8b_{args.layers}_layers", args.work / "quantized"
    if not (model / "tokenizer.json").exists():
        write_model(model, args.layers)
    samples = args.work / "samples.jsonl"
    rng = random.Random(2)
    samples.write_text("".join(json.dumps({"token_ids": [rng.randrange(256) for _ in range(args.max_seq_length)]}) + "\n"
                               for _ in range(args.num_samples)))
    print("| job | peak GiB | limit GiB | s |\n|---|---|---|---|")
    exceeded = 0
    for job in args.only:
        scheme, algorithm, limit = JOBS[job]
        data = [] if limit == 2 * GIB else ["--calibration-data", samples, "--num-calibration-samples",
                                            args.num_samples, "--max-seq-length", args.max_seq_length]
        seconds, peak = peak_of([args.octavo, "quantize", model, "--scheme", scheme, "--algorithm", algorithm, "-o", out,
                                 "--overwrite", *data], args.work / "log.txt")
        exceeded += peak > limit
        print(f"| {job} | {peak / GIB:.2f} | {limit / GIB:.0f} | {seconds:.0f} |", flush=True)
        shutil.rmtree(out)
    print(f"\n{args.layers} layers of Llama-3-8B's shapes; calibrated on {args.num_samples} samples of "
          f"{args.max_seq_length} tokens.")
    if not args.keep:
        shutil.rmtree(model)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
