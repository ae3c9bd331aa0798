#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the perplexity of models in several schemes and prints a Markdown table.

usage: perplexity_table.py [--octavo PROGRAM] [--file TEXT] [--max-windows N] [--window N] MODEL...

Each 16-bit MODEL folder is measured as it is and after `octavo quantize` into each scheme (in a
temporary folder). TEXT is the joined wikitext-2 raw test set; by default the copy in $OCTAVO_SHARED.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

SCHEMES = ["FP8_DYNAMIC", "W8A8", "W4A16", "QOQ_G128"]
ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(octavo, *arguments):
    done = subprocess.run([octavo, *map(str, arguments), "--json", "-"], stdout=subprocess.PIPE,
                          check=True, text=True)
    return json.loads(done.stdout)


def measure(args, folder):
    extra = ["--max-windows", args.max_windows] if args.max_windows else []
    return run(args.octavo, "perplexity", folder, "--file", args.file, "--window", args.window, *extra)


def row(args, model, scratch):
    base = measure(args, model)
    cells = [f"{base['perplexity']:.2f}"]
    for scheme in SCHEMES:
        folder = os.path.join(scratch, scheme)
        info = run(args.octavo, "quantize", model, "--scheme", scheme, "-o", folder, "--overwrite")
        result = measure(args, folder)
        change = 100 * (result["perplexity"] / base["perplexity"] - 1)
        group = f", g{info['group_size']}" if info["group_size"] else ""
        cells.append(f"{result['perplexity']:.2f} ({change:+.1f} %{group})")
    return base["windows"], cells


def main():
    shared = pathlib.Path(os.environ.get("OCTAVO_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--file", default=str(shared / "data/wikitext-2-raw/test.joined.txt"))
    parser.add_argument("--max-windows", type=int, default=0)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    args = parser.parse_args()
    print("| model | bf16 | " + " | ".join(SCHEMES) + " |")
    print("|---" * (len(SCHEMES) + 2) + "|")
    windows = 0
    for model in args.models:
        with tempfile.TemporaryDirectory() as scratch:
            windows, cells = row(args, model, scratch)
        print(f"| {pathlib.Path(model).name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nPerplexity on wikitext-2 raw test, {windows} windows of {args.window} tokens; change "
          "against bf16 and group size in brackets.")


if __name__ == "__main__":
    main()
