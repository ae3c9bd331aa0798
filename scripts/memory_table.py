#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each format buys at one fixed memory budget for weights and KV cache: a Markdown table.

usage: memory_table.py [--octavo PROGRAM] [--budget BYTES] [--work FOLDER] [--full] MODEL

MODEL is a 16-bit folder. Each row is quantized with `octavo quantize` (kept in --work), and gives what the
weights leave of the budget to the KV pool. "Batch" is the largest number of requests of --input-len +
--output-len tokens whose KV blocks all fit at once. Throughput is `octavo bench throughput` at that batch (at most
--max-batch, which is marked) and at the smallest of these batches, latency `octavo bench latency` at batch 1.
To end in minutes, timed requests have --timed-input-len + --timed-output-len tokens; --full times the whole length.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Name, scheme of `octavo quantize` (None: as it is), KV type.
ROWS = [("BF16, KV bf16", None, "bfloat16"), ("FP8, KV fp8", "FP8_DYNAMIC", "fp8"), ("W8A8, KV bf16", "W8A8", "bfloat16"),
        ("W4A16, KV bf16", "W4A16", "bfloat16"), ("QoQ W4A8, KV int4", "QOQ_G128", "int4")]
UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "MIB": 1 << 20, "GIB": 1 << 30}
BLOCK = 16


def bytes_of(text):
    match = re.fullmatch(r"([\d.]+)\s*([A-Za-z]*)", text)
    if not match or match[2].upper() not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r}: want a size such as 3600MB or 4GiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def blocks_of(tokens):
    return -(-tokens // BLOCK)


class Row:
    def __init__(self, args, name, scheme, kv):
        self.args, self.name, self.kv = args, name, kv
        self.folder = args.model if scheme is None else self.quantized(scheme)
        # A pool of known size tells what a block and the weights take.
        probe = self.bench("latency", 2, 2, 1, blocks=blocks_of(args.length) + 2)
        self.weights, self.page = probe["weight_bytes"], probe["kv_cache_bytes"] // probe["num_kv_blocks"]
        if args.budget is None:  # the first row's: BF16
            args.budget = self.weights + self.page * (4 * blocks_of(args.length) + 1)
        self.blocks = max(0, args.budget - self.weights) // self.page
        self.batch = (self.blocks - 1) // blocks_of(args.length)  # block 0 is the pool's own

    def quantized(self, scheme):
        folder = os.path.join(self.args.work, scheme)
        if not os.path.exists(os.path.join(folder, "config.json")):
            subprocess.run([self.args.octavo, "quantize", self.args.model, "--scheme", scheme, "-o", folder],
                           check=True, stdout=subprocess.DEVNULL)
        return folder

    def bench(self, what, input_len, output_len, batch, blocks):
        count = "--num-prompts" if what == "throughput" else "--batch-size"
        more = [] if what == "throughput" else ["--num-iters", 3 if output_len > 2 else 1]
        command = [self.args.octavo, "bench", what, self.folder, "--kv-cache-dtype", self.kv, "--input-len", input_len,
                   "--output-len", output_len, count, batch, "--max-num-seqs", batch, "--block-size", BLOCK,
                   "--num-kv-blocks", blocks, "--no-enable-prefix-caching", "--json", "-", *more]
        print(f"{self.name}: bench {what}, batch {batch}, {input_len} + {output_len} tokens", file=sys.stderr)
        done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return json.loads(done.stdout)

    def throughput(self, batch):
        """Generated tokens per second with `batch` requests in the row's own pool; none may be preempted."""
        result = self.bench("throughput", *self.args.timed, batch, self.blocks)
        if result["num_preemptions"]:
            raise RuntimeError(f"{self.name}: {result['num_preemptions']} preemptions at batch {batch}")
        return result["output_tokens_per_second"]

    def latency_ms(self):
        result = self.bench("latency", *self.args.timed, 1, self.blocks)
        return 1e3 * (result["avg_latency"] - result["avg_first_token_latency"]) / (self.args.timed[1] - 1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--budget", type=bytes_of, help="weights + KV, such as 3600MB; default: what BF16 needs for a "
                        "batch of 4")
    parser.add_argument("--input-len", type=int, default=1024)
    parser.add_argument("--output-len", type=int, default=512)
    parser.add_argument("--timed-input-len", type=int, default=64)
    parser.add_argument("--timed-output-len", type=int, default=32)
    parser.add_argument("--max-batch", type=int, default=128, help="largest batch that is timed")
    parser.add_argument("--full", action="store_true", help="time requests of the whole length (hours on a small machine)")
    parser.add_argument("--work", help="folder for the quantized models; default: a temporary one")
    parser.add_argument("model", metavar="MODEL")
    args = parser.parse_args()
    args.length = args.input_len + args.output_len
    args.timed = (args.input_len, args.output_len) if args.full else (args.timed_input_len, args.timed_output_len)
    if min(args.timed) < 1 or args.timed[1] < 2:
        parser.error("a timed request needs a prompt and two tokens of output")
    return args


def cell(value, base):
    return f"{value:.1f} ({value / base:.2f}x)"


def table(args):
    rows = [Row(args, *row) for row in ROWS]
    if min(row.batch for row in rows) < 1:
        sys.exit("memory_table.py: " + ", ".join(f"{r.name} needs {r.weights + r.page * (blocks_of(args.length) + 1)} bytes"
                                                 for r in rows if r.batch < 1) + f"; the budget is {args.budget}")
    equal = min(row.batch for row in rows)
    print(f"| format | weights MB | KV MB | batch at {args.input_len}+{args.output_len} | tok/s at that batch | tok/s at "
          f"batch {equal} | ms per token at batch 1 |\n|---|---:|---:|---:|---:|---:|---:|", flush=True)
    base = None
    for row in rows:
        timed = min(row.batch, args.max_batch)
        alone = row.latency_ms()
        together = row.throughput(equal)
        full = together if timed == equal else row.throughput(timed)
        base = base or (full, together, alone)
        mark = "" if timed == row.batch else f" at {timed}"
        print(f"| {row.name} | {row.weights / 1e6:.0f} | {row.blocks * row.page / 1e6:.0f} | {row.batch} | "
              f"{cell(full, base[0])}{mark} | {cell(together, base[1])} | {cell(alone, base[2])} |", flush=True)
    print(f"\n{pathlib.Path(args.model).name}, {args.budget / 1e6:.0f} MB for weights and KV, blocks of {BLOCK} tokens. "
          f"Timed requests: {args.timed[0]} + {args.timed[1]} tokens, greedy, generated tokens over the whole time, prefill "
          "included; no request was preempted. In brackets: relative to the first row.")


def main():
    args = parse()
    if args.work:
        return table(args)
    with tempfile.TemporaryDirectory() as args.work:
        table(args)


if __name__ == "__main__":
    main()
