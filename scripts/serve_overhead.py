#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What HTTP costs: `octavo bench serve` against `octavo bench throughput` on the same load, a Markdown table.

usage: serve_overhead.py [--octavo PROGRAM] [--clients N] [--num-prompts N] [--repeat N] MODEL

Both generate greedily from random prompts of equal lengths with at most --clients sequences at once, in turns, --repeat
times; the table shows medians, and the median and the range of the rounds' ratios. Wanted: the server within 5 % of
the offline engine on a 1.5B model, within 15 % on a 135M one.
"""
import argparse
import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/interop"))
from common import Serving, run_json  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--num-prompts", type=int, default=96)
    parser.add_argument("--input-len", type=int, default=64)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("model", metavar="MODEL")
    args = parser.parse_args()
    load = ["--num-prompts", args.num_prompts, "--input-len", args.input_len, "--output-len", args.output_len]
    engine = ["--max-num-seqs", args.clients, "--max-model-len", args.input_len + args.output_len]
    # The offline engine computes prompts as fast as it can; a server paces them for its running streams.
    flags = {"server": [], "server, --target-step-ms 0": ["--target-step-ms", 0]}
    offline, served = [], {label: [] for label in flags}
    for _ in range(args.repeat):
        offline.append(run_json(args.octavo, "bench", "throughput", args.model, *load, *engine))
        for label, extra in flags.items():
            with Serving(args.octavo, args.model, *engine, *extra) as server:
                served[label].append(run_json(args.octavo, "bench", "serve", "--base-url", server.url,
                                              "--max-concurrency", args.clients, *load))
                server.stop()
            if served[label][-1]["failed"]:
                sys.exit(f"serve_overhead.py: failed requests: {json.dumps(served[label][-1]['errors'])}")
    alone = [run["output_tokens_per_second"] for run in offline]
    print("| | tok/s | of the offline engine: median (range) | median ITL ms | p99 ITL ms |\n|---|---:|---:|---:|---:|")
    print(f"| offline engine | {statistics.median(alone):.1f} | | | |")
    for label, runs in served.items():
        speeds = [run["output_throughput"] for run in runs]
        ratios = [speed / base - 1 for speed, base in zip(speeds, alone)]
        median = {key: statistics.median(run[key] for run in runs) for key in ("median_itl_ms", "p99_itl_ms")}
        print(f"| {label} | {statistics.median(speeds):.1f} "
              f"| {statistics.median(ratios):+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%}) "
              f"| {median['median_itl_ms']:.1f} | {median['p99_itl_ms']:.1f} |")
    print(f"\n{pathlib.Path(args.model).name}, {args.num_prompts} requests of {args.input_len} + {args.output_len} tokens, "
          f"at most {args.clients} at once, generated tokens over the whole time, {args.repeat} rounds.")


if __name__ == "__main__":
    main()
