#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what each of QoQ's transforms brings, in the paper's order, and prints Markdown tables.

usage: qoq_ablation.py [--octavo PROGRAM] [--file TEXT] [--max-windows N] [--samples N]
                       [--scheme SCHEME]... [--steps N[,N...]] [--baselines NAME[,NAME...]] [--keep FOLDER] MODEL

MODEL is a 16-bit Hugging Face folder. Every row is quantized from scratch into a temporary folder (or
into FOLDER, where finished rows and what was measured of them are used again), then judged on TEXT:
perplexity, and the KL divergence of its predictions from the original's. TEXT is the joined wikitext-2 raw
test set; by default the copy in $OCTAVO_SHARED. --steps takes rows by number (0: round to nearest) and
--baselines of awq, gptq, when all would take too long. Calibration uses the program's built-in text unless --calibration-data names another.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Each row adds transforms to those before it.
STEPS = [("round to nearest", []),
         ("+ rotation", ["rotate", "rotate-values"]),
         ("+ centered keys", ["center-keys"]),
         ("+ SmoothAttention", ["smooth-attention"]),
         ("+ channel reordering", ["reorder"]),
         ("+ output smoothing", ["smooth-output"]),
         ("+ clipping", ["clip"]),
         ("+ GPTQ", ["gptq"])]
KV_TYPES = ["bfloat16", "int8", "int4"]


def run(args, *arguments):
    done = subprocess.run([args.octavo, *map(str, arguments), "--json", "-"], stdout=subprocess.PIPE,
                          check=True, text=True)
    return json.loads(done.stdout)


def measure(args, folder, kv):
    """Perplexity and mean KL of a folder with a type of KV cache."""
    folder = pathlib.Path(folder)
    name = f"{folder.name}.{kv}.{pathlib.Path(args.file).name}.{args.max_windows}.json"
    kept = pathlib.Path(args.keep) / name if args.keep else None
    if kept and kept.exists():
        return json.loads(kept.read_text())
    report = run(args, "compare", args.model, folder, "--file", args.file, "--max-windows",
                 args.max_windows, "--no-weights", "--kv-cache-dtype", kv)
    figures = report["perplexity"]["other"]["value"], report["divergence"]["mean_kl"]["value"]
    if kept:
        kept.write_text(json.dumps(figures))
    return figures


def quantize(args, scratch, scheme, algorithm, transforms=None):
    name = "-".join([scheme, algorithm, *(transforms or [])])
    folder = pathlib.Path(args.keep or scratch) / name
    if folder.exists():
        return folder
    extra = ["--qoq-transforms", ",".join(transforms) or "none"] if transforms is not None else []
    if args.calibration_data:
        extra += ["--calibration-data", args.calibration_data]
    run(args, "quantize", args.model, "--scheme", scheme, "--algorithm", algorithm, "-o", folder,
        "--num-calibration-samples", args.samples, *extra)
    return folder


def show(name, kv, figures, base):
    perplexity, kl = figures
    change = 100 * (perplexity / base - 1)
    print(f"| {name} | {kv} | {perplexity:.3f} | {change:+.1f} % | {kl:.4f} |", flush=True)


def ablate(args, scratch, scheme, base):
    print(f"\n{scheme}\n\n| | KV cache | perplexity | change | KL |\n|---|---|---|---|---|", flush=True)
    transforms = []
    for step, (name, added) in enumerate(STEPS):
        if scheme == "QOQ" and added == ["reorder"]:
            continue  # there are no groups to sort channels into
        transforms = transforms + added
        if step not in args.steps:
            continue
        folder = quantize(args, scratch, scheme, "qoq", transforms)
        show(name, "int4", measure(args, folder, "int4"), base)
    if len(STEPS) - 1 not in args.steps:
        return
    for kv in KV_TYPES[:-1]:
        show("all, other KV caches", kv, measure(args, folder, kv), base)


def main():
    shared = pathlib.Path(os.environ.get("OCTAVO_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--file", default=str(shared / "data/wikitext-2-raw/test.joined.txt"))
    parser.add_argument("--max-windows", type=int, default=10)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--calibration-data")
    parser.add_argument("--scheme", action="append", choices=["QOQ_G128", "QOQ"])
    parser.add_argument("--steps", type=lambda text: [int(n) for n in text.split(",")], default=range(len(STEPS)))
    parser.add_argument("--baselines", type=lambda text: text.split(",") if text else [], default=["awq", "gptq"])
    parser.add_argument("--keep", metavar="FOLDER")
    parser.add_argument("model", metavar="MODEL")
    args = parser.parse_args()
    if args.keep:
        pathlib.Path(args.keep).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        print("Baselines\n\n| | KV cache | perplexity | change | KL |\n|---|---|---|---|---|")
        base, _ = measure(args, args.model, "bfloat16")
        for kv in KV_TYPES:
            show("bf16", kv, measure(args, args.model, kv), base)
        for algorithm in args.baselines:
            folder = quantize(args, scratch, "W4A16", algorithm)
            show(f"W4A16 g128, {algorithm.upper()}", "bfloat16", measure(args, folder, "bfloat16"), base)
        for scheme in args.scheme or ["QOQ_G128", "QOQ"]:
            ablate(args, scratch, scheme, base)
    print(f"\n{pathlib.Path(args.model).name}, {args.max_windows} windows of 2048 tokens of "
          f"{pathlib.Path(args.file).name}; calibrated on {args.samples} samples.")


if __name__ == "__main__":
    main()
