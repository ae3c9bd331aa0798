#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much a long prompt disturbs running streams: inter-token latency while it is prefilled, a Markdown table.

usage: prefill_itl.py [--octavo PROGRAM] [--streams N] [--prompt-len N] [--rounds N] [--target-step-ms MS] MODEL

Once with the server's defaults, once with --target-step-ms (unless given: 0, whole prompts in a step), `octavo serve` has --streams running streams; --rounds times a prompt of --prompt-len
random tokens is sent. Gaps between pieces of the streams count as "during prefill" when they end between the prompt's
arrival and its first token, and as "undisturbed" otherwise. Wanted: p99 during prefill under 3x the undisturbed median.
"""
import argparse
import json
import pathlib
import random
import statistics
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/interop"))
from common import Serving  # noqa: E402


def stream(server, body, on_piece):
    body = {"model": server.model, "temperature": 0, "ignore_eos": True, "stream": True, **body}
    request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        for line in reply:
            if line.startswith(b"data: {") and not on_piece(time.perf_counter()):
                return


def percentile(values, p):
    values = sorted(values)
    rank = p / 100 * (len(values) - 1)
    low = int(rank)
    return values[low] + (rank - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def measure(args, target):
    """Gaps in seconds, undisturbed and during prefill, and the seconds each prompt took to its first token."""
    length = args.prompt_len + 64
    flags = ["--max-model-len", max(length, 4096), "--kv-cache-memory-bytes", args.kv_cache_memory_bytes,
             "--no-enable-prefix-caching", "--max-num-seqs", args.streams + 1]
    # Without a target the flag is left out: what a user gets.
    flags += [] if target is None else ["--target-step-ms", target]
    rng = random.Random(3)
    with Serving(args.octavo, args.model, *flags) as server:
        vocab = server.get("/tokenizer_info")["vocab_size"]
        stop = threading.Event()
        times = [[] for _ in range(args.streams)]

        def run(i):
            def on_piece(now):
                times[i].append(now)
                return not stop.is_set()
            while not stop.is_set():
                times[i].append(None)  # no gap across requests
                stream(server, {"prompt": [rng.randrange(300, vocab) for _ in range(16)], "max_tokens": 1500}, on_piece)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(args.streams)]
        for thread in threads:
            thread.start()
        time.sleep(args.calm)
        windows = []
        for _ in range(args.rounds):
            prompt = [rng.randrange(300, vocab) for _ in range(args.prompt_len)]
            begin = time.perf_counter()
            first = []
            stream(server, {"prompt": prompt, "max_tokens": 1}, lambda now, first=first: first.append(now) or True)
            windows.append((begin, first[0]))
            time.sleep(args.calm)
        stop.set()
        for thread in threads:
            thread.join()
        # The first second holds the start of the streams.
        start = windows[0][0] - args.calm / 2
        during, calm = [], []
        for series in times:
            for a, b in zip(series, series[1:]):
                if a is None or b is None or a < start:
                    continue
                inside = any(begin < b and a < end for begin, end in windows)
                (during if inside else calm).append(b - a)
        server.stop()
    return calm, during, [end - begin for begin, end in windows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--prompt-len", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calm", type=float, default=4, help="seconds between prompts")
    parser.add_argument("--kv-cache-memory-bytes", default="1GiB")
    parser.add_argument("--target-step-ms", type=float, default=0, help="of the second run")
    parser.add_argument("model", metavar="MODEL")
    args = parser.parse_args()
    print("| --target-step-ms | undisturbed median ms | p99 ms | during prefill median ms | p99 ms | p99 / undisturbed "
          "median | first token of the prompt s |\n|---|---:|---:|---:|---:|---:|---:|")
    target = None
    for _ in range(2):
        calm, during, waits = measure(args, target)
        median = statistics.median(calm)
        print(f"| {'default' if target is None else f'{target:g}'} | {1e3 * median:.1f} | {1e3 * percentile(calm, 99):.1f} | "
              f"{1e3 * statistics.median(during):.1f} | {1e3 * percentile(during, 99):.1f} | "
              f"{percentile(during, 99) / median:.1f}x | {statistics.mean(waits):.2f} |", flush=True)
        target = args.target_step_ms
    print(f"\n{pathlib.Path(args.model).name}, {args.streams} streams, {args.rounds} prompts of {args.prompt_len} tokens.")


if __name__ == "__main__":
    main()
