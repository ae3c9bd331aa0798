#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What speculative decoding by prompt lookup gains on copying tasks and costs elsewhere: a Markdown table.

usage: lookup_table.py [--octavo PROGRAM] [--tokens N] [--repeat N] [--max-tokens N] MODEL

Starts `octavo serve MODEL` twice, with and without --num-speculative-tokens, and sends both the same requests one at a
time and in turns. Fails when the two answers differ. Tokens per step come from the server's own counters; times are
those between the first and the last piece of a stream, the fastest of --repeat.
"""
import argparse
import json
import pathlib
import random
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/interop"))
from common import Serving  # noqa: E402

CODE = '''def load_records(path, limit=None):
    records = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file):
            if limit is not None and number >= limit:
                break
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, value = line.split("=", 1)
            records.append({"name": name.strip(), "value": value.strip(), "line": number + 1})
    return records


def total_of(records):
    total = 0
    for record in records:
        try:
            total += float(record["value"])
        except ValueError:
            print("line", record["line"], "is not a number:", record["value"])
    return total
'''
REPORT = '''The harbour bridge was closed on Monday after inspectors found cracks in two of its main cables. "We have no reason to
believe that the bridge was ever in danger of falling," said Maria Lindqvist, the city's chief engineer, "but we do not
take chances with forty thousand commuters a day." Repairs are expected to take three weeks and to cost about two million
euros. Ferry operators said that they would run extra boats in the morning. "Our captains know these waters, and we will
carry everybody who turns up," said Tom Okafor, who runs the largest of the three companies. Shop owners on the south bank
were less pleased. "Last time they promised three weeks and it took three months," said Elena Petrova, a baker.
'''
COPYING = [
    ("code edit: rename", f"Rename the variable records to entries in this file and print the whole file.\n```python\n{CODE}```"),
    ("code edit: add a docstring", f"Add a docstring to total_of and print the whole file, otherwise unchanged.\n```python\n{CODE}```"),
    ("summary with quotes", f"Summarize this report in a few sentences. Quote every speaker in full.\n\n{REPORT}"),
    ("proofreading", f"Print this text again without any change.\n\n{REPORT}"),
]


def tasks(vocab):
    for name, text in COPYING:
        yield name, "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], "temperature": 0}
    # Nothing to find: a prompt of random tokens, and drawn text without repetition.
    rng = random.Random(5)
    for i in range(2):
        yield f"nothing matches {i + 1}", "/v1/completions", {
            "prompt": [rng.randrange(300, vocab) for _ in range(200)], "temperature": 2.0, "seed": i, "ignore_eos": True}


def ask(server, path, body):
    """Text, tokens, seconds between first and last piece, and steps after the prompt's."""
    steps = server.get("/octavo/status")["stats"]["num_steps"]
    body = {**body, "model": server.model, "stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    text, times, usage = "", [], None
    with urllib.request.urlopen(request, timeout=600) as reply:
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                piece = choice.get("text", choice.get("delta", {}).get("content")) or ""
                text += piece
                times.append(time.perf_counter())
    steps = server.get("/octavo/status")["stats"]["num_steps"] - steps
    return text, usage["completion_tokens"], times[-1] - times[0], steps - 1


def measure(servers, path, body, repeat):
    """Of each server: tokens, fastest seconds, steps; the texts must be equal."""
    best = [None, None]
    for _ in range(repeat):
        for i, server in enumerate(servers):
            text, tokens, seconds, steps = ask(server, path, body)
            if best[0] and text != best[0][0]:
                raise RuntimeError(f"speculation changed the answer: {best[0][0]!r} -> {text!r}")
            if best[i] is None or seconds < best[i][2]:
                best[i] = (text, tokens, seconds, steps)
    return [result[1:] for result in best]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--tokens", type=int, default=8, help="--num-speculative-tokens of the second server")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("model", metavar="MODEL")
    args = parser.parse_args()
    flags = ["--max-model-len", 2048, "--kv-cache-memory-bytes", "256MiB", "--no-enable-prefix-caching"]
    with Serving(args.octavo, args.model, *flags) as plain, Serving(
            args.octavo, args.model, *flags, "--num-speculative-tokens", args.tokens) as lookup:
        vocab = plain.get("/tokenizer_info")["vocab_size"]
        print("| task | tokens | tokens per step | tok/s without | tok/s with | speed-up |\n|---|---:|---:|---:|---:|---:|")
        for name, path, body in tasks(vocab):
            (tokens, slow, _), (_, fast, steps) = measure((plain, lookup), path,
                                                          {**body, "max_tokens": args.max_tokens}, args.repeat)
            decoded = tokens - 1  # the first token comes with the prompt's step
            print(f"| {name} | {tokens} | {decoded / max(steps, 1):.2f} | {decoded / slow:.1f} | {decoded / fast:.1f} | "
                  f"{slow / fast:.2f}x |", flush=True)
    print(f"\n{pathlib.Path(args.model).name}, one request at a time, up to {args.tokens} tokens proposed, fastest of "
          f"{args.repeat}; answers with and without are equal. Wanted: at least 0.97x where nothing matches.")


if __name__ == "__main__":
    main()
