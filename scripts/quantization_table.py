#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality of every scheme and algorithm on one model: perplexity, KL divergence, top-1 agreement, as Markdown.

usage: quantization_table.py --work FOLDER [--octavo PROGRAM] [--file TEXT] [--max-windows N] [--window N]
                             [--num-samples N] [--max-seq-length N] [--calibration-data FILE]
                             [--only NAME[,NAME...]] [--print] MODEL...

MODEL is a 16-bit folder. Each pair is made with `octavo quantize` and judged with `octavo compare` against MODEL on
TEXT (by default wikitext-2 raw test in $OCTAVO_SHARED). Results are kept in --work, a folder for each model and a file
for each pair: a run that was interrupted continues, and --print shows what is there without measuring. Checkpoints are
deleted when judged. docs/quality.md holds what it prints.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Scheme, algorithm; by bits.
PAIRS = [("FP8", "rtn"), ("FP8_DYNAMIC", "rtn"), ("FP8_BLOCK", "rtn"), ("W8A8", "rtn"), ("W8A8", "gptq"),
         ("W8A8", "smoothquant"), ("W8A8", "smoothquant+gptq"), ("W8A8_STATIC", "rtn"),
         ("W8A8_STATIC", "smoothquant"), ("W8A16", "rtn"), ("W8A16", "gptq"), ("W4A16", "rtn"), ("W4A16", "gptq"),
         ("W4A16", "awq"), ("W4A16", "awq+clip"), ("W4A16_ASYM", "rtn"), ("W4A16_ASYM", "gptq"),
         ("W4A16_ASYM", "awq"), ("W4A8", "rtn"), ("W4A8", "gptq"), ("W4A8", "smoothquant+gptq"), ("QOQ_G128", "rtn"),
         ("W3A16", "rtn"), ("W3A16", "gptq"), ("W3A16", "awq")]
STATIC = ("FP8", "W8A8_STATIC")


def run(octavo, *arguments):
    done = subprocess.run([octavo, *map(str, arguments), "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else f"exit {done.returncode}")
    return json.loads(done.stdout)


def measure(args, model, scheme, algorithm):
    work = args.work / model.name
    folder = work / "checkpoint"
    calibration = []
    if algorithm != "rtn" or scheme in STATIC:
        calibration = ["--num-calibration-samples", args.num_samples, "--max-seq-length", args.max_seq_length]
        if args.calibration_data:
            calibration += ["--calibration-data", args.calibration_data]
    made = run(args.octavo, "quantize", model, "--scheme", scheme, "--algorithm", algorithm, "-o", folder,
               "--overwrite", *calibration)
    windows = ["--max-windows", args.max_windows] if args.max_windows else []
    report = run(args.octavo, "compare", model, folder, "--file", args.file, "--window", args.window, *windows,
                 "--no-weights", "--scratch", work)
    shutil.rmtree(folder)
    return {"bits": made["bits_per_weight"], "group_size": made["group_size"], "seconds": made["seconds"],
            "samples": [args.num_samples, args.max_seq_length], "divergence": report["divergence"], "perplexity": report["perplexity"]}


def result_of(args, model, scheme, algorithm):
    """The kept result, or a new one; an error that the model brings with it is a result too."""
    record = args.work / model.name / f"{scheme}.{algorithm}.json"
    if record.exists():
        return json.loads(record.read_text())
    if args.print:
        return None
    print(f"{model.name} {scheme} {algorithm}", file=sys.stderr, flush=True)
    try:
        result = measure(args, model, scheme, algorithm)
    except RuntimeError as error:
        result = {"error": str(error)}
    temporary = record.with_suffix(".partial")
    temporary.write_text(json.dumps(result))
    temporary.rename(record)
    return result


def number(estimate, scale, digits):
    """value ± standard error."""
    text = f"{scale * estimate['value']:.{digits}f}"
    error = estimate.get("standard_error")
    return text if error is None else f"{text} ± {scale * error:.{digits}f}"


def row(scheme, algorithm, result):
    name = scheme + (f" g{result['group_size']}" if result.get("group_size") else "")
    if "error" in result:
        return f"| {name} | {algorithm} | {result['error']} |" + " |" * 5
    divergence, perplexity = result["divergence"], result["perplexity"]
    return " | ".join([f"| {name}", algorithm, f"{result['bits']:.2f}", f"{perplexity['other']['value']:.3f}",
                       number(perplexity["increase_percent"], 1, 2), number(divergence["mean_kl"], 1, 4),
                       number(divergence["top1_agreement"], 100, 2), f"{result['seconds']:.0f} |"])


def print_table(args, model):
    """Measures what is missing of one model and prints its table."""
    (args.work / model.name).mkdir(parents=True, exist_ok=True)
    lines, last = [], None
    for scheme, algorithm in PAIRS:
        if args.only and scheme not in args.only:
            continue
        result = result_of(args, model, scheme, algorithm)
        if result is None:
            continue
        if "error" not in result:
            last = result
        lines.append(row(scheme, algorithm, result))
    if last:
        base, positions = last["perplexity"]["reference"]["value"], last["divergence"]["positions"]
        samples, length = last["samples"]
        print(f"**{model.name}**: bf16 perplexity {base:.3f} on {positions} tokens of {pathlib.Path(args.file).name}, "
              f"windows of {args.window}; calibrated on {samples} samples of {length} tokens "
              f"({args.calibration_data or 'built-in text'}); ± is one standard error.\n")
    print("| scheme | algorithm | bits per weight | perplexity | change % | KL (nats per token) | same top-1 % | s |")
    print("|---" * 2 + "|---:" * 6 + "|")
    print("\n".join(lines) + "\n")


def main():
    shared = pathlib.Path(os.environ.get("OCTAVO_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--file", default=str(shared / "data/wikitext-2-raw/test.joined.txt"))
    parser.add_argument("--max-windows", type=int, default=0)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--num-samples", type=int, default=128)
    parser.add_argument("--max-seq-length", type=int, default=512)
    parser.add_argument("--calibration-data")
    parser.add_argument("--only", type=lambda s: s.split(","), help="schemes")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("models", type=pathlib.Path, nargs="+", metavar="MODEL")
    args = parser.parse_args()
    for model in args.models:
        print_table(args, model)


if __name__ == "__main__":
    main()
