#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Octavo and the engines it is compared with in alternation, and prints a table of medians.

Each round runs every engine once on every case, so that a noisy neighbour hits all of them; figures are
medians over the rounds, ratios medians of the rounds' ratios. Engines that are missing are left out, and
named. Results also go to a file of JSON lines, one per run.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

from chart import write_chart
from engines import LlamaCpp, Octavo, OpenVino, Vllm

ROOT = pathlib.Path(__file__).resolve().parents[1]

MARKER = "<!-- bench/compare.sh writes everything below -->"

# name, what each engine runs. `gguf` is a type of `octavo convert --to gguf-*`; Octavo runs that file at its
# own bits, and the 16-bit folder in its own schemes beside it.
CASES = [
    {"name": "4-bit", "gguf": "q4_0", "octavo": [("W4A8", ["--quantization", "w4a8", "--lm-head-dtype", "int4"])]},
    {"name": "8-bit", "gguf": "q8_0", "octavo": [("W8A8", ["--quantization", "int8", "--lm-head-dtype", "int8"])]},
    {"name": "16-bit", "gguf": None, "octavo": [("BF16", []), ("FP8", ["--quantization", "fp8_per_channel"])]},
]


def cpu_name():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def make_gguf(octavo, folder, kind, scratch):
    """The folder as a GGUF file of one type, made once and kept."""
    path = pathlib.Path(scratch) / f"{pathlib.Path(folder).name}-{kind}.gguf"
    if not path.exists():
        print(f"compare: writing {path.name}", file=sys.stderr)
        subprocess.run([octavo, "convert", folder, "--to", f"gguf-{kind}", "-o", path], check=True,
                       stdout=subprocess.DEVNULL)
    return path


def runners(args, engines, model, case):
    """(label, function) of every engine that has something to run in this case."""
    gguf = make_gguf(args.octavo, model, case["gguf"], args.scratch) if case["gguf"] else None
    octavo = engines["octavo"]
    for label, flags in case["octavo"]:
        yield f"Octavo {label}", lambda batch, flags=flags: octavo.run(model, flags, batch)
    if gguf:
        yield f"Octavo {case['gguf'].upper()} file", lambda batch: octavo.run(gguf, [], batch)
    for name in ("llama.cpp", "OpenVINO GenAI"):
        if gguf and name in engines:
            yield f"{name} {case['gguf'].upper()}", lambda batch, name=name: engines[name].run(gguf, batch)
    if not gguf and "vLLM" in engines:
        yield "vLLM BF16", lambda batch: engines["vLLM"].run(model, batch)


def measure(args, engines):
    machine = {"cpu": cpu_name(), "isa": engines["octavo"].isa(), "threads": args.threads, "commit": commit()}
    results = []
    with open(args.output, "a", encoding="utf-8") as log:
        for round_index in range(args.rounds):
            for model in args.models:
                for case in CASES:
                    if args.cases and case["name"] not in args.cases:
                        continue
                    for label, run in runners(args, engines, model, case):
                        for batch in args.batch:
                            record = {"round": round_index, "model": pathlib.Path(model).name,
                                      "case": case["name"], "engine": label, "batch": batch,
                                      "time": time.time(), **machine}
                            try:
                                record |= run(batch)
                            except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
                                record["error"] = str(error)[:300]
                            results.append(record)
                            print(json.dumps(record), file=log, flush=True)
                            print(f"compare: round {round_index + 1}/{args.rounds} {record['model']} {label} "
                                  f"b{batch}: {record.get('prefill_tok_s', 0):.0f} / "
                                  f"{record.get('decode_tok_s', 0):.1f} tok/s {record.get('error', '')}",
                                  file=sys.stderr, flush=True)
    return machine, results


def medians(results):
    """{(model, case, batch): {engine: {figure: [per round]}}}, in order of appearance."""
    table = {}
    for r in results:
        engines = table.setdefault((r["model"], r["case"], r["batch"]), {})
        figures = engines.setdefault(r["engine"], {})
        for key in ("prefill_tok_s", "decode_tok_s", "pct_int8_peak", "pct_bf16_peak", "pct_dram"):
            if r.get(key):
                figures.setdefault(key, []).append(r[key])
    return table


def cell(figures, key, digits=0):
    values = figures.get(key)
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def ratio(own, other, key):
    pairs = [a / b for a, b in zip(own.get(key, []), other.get(key, [])) if b > 0]
    return f"{statistics.median(pairs):.2f}x" if pairs else "-"


def markdown(machine, results, args):
    lines = [f"{machine['cpu']}, ISA {machine['isa']}, {machine['threads']} threads, commit "
             f"{machine['commit']}; medians of {args.rounds} rounds, prompt {args.prompt_len}, "
             f"{args.gen_len} tokens generated. The ratios compare the first Octavo row of a block with the "
             "row they stand in.", ""]
    for (model, case, batch), engines in medians(results).items():
        lines += [f"**{model}, {case}, batch {batch}**", "",
                  "| engine | prefill tok/s | ratio | decode tok/s | ratio | % int8 | % bf16 | % DRAM |",
                  "|---|---:|---:|---:|---:|---:|---:|---:|"]
        own = next((f for e, f in engines.items() if e.startswith("Octavo") and f), {})
        for engine, figures in engines.items():
            lines.append(f"| {engine} | {cell(figures, 'prefill_tok_s')} | {ratio(own, figures, 'prefill_tok_s')} "
                         f"| {cell(figures, 'decode_tok_s', 1)} | {ratio(own, figures, 'decode_tok_s')} "
                         f"| {cell(figures, 'pct_int8_peak')} | {cell(figures, 'pct_bf16_peak')} "
                         f"| {cell(figures, 'pct_dram')} |")
        lines.append("")
    return "\n".join(lines)


def write_markdown(path, report):
    """Replaces what stands below the marker line, so that a document keeps its introduction."""
    head = ""
    if os.path.exists(path):
        text = pathlib.Path(path).read_text(encoding="utf-8")
        head = text[:text.find(MARKER)] if MARKER in text else ""
    pathlib.Path(path).write_text(f"{head}{MARKER}\n\n{report}\n", encoding="utf-8")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("models", nargs="+", metavar="FOLDER", help="16-bit Hugging Face folder")
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--llama-cpp", default=os.environ.get("LLAMA_CPP_BIN"), metavar="DIR",
                        help="folder of llama-bench and llama-batched-bench ($LLAMA_CPP_BIN)")
    parser.add_argument("--openvino-python", default=os.environ.get("OPENVINO_PYTHON"), metavar="PYTHON",
                        help="interpreter with openvino-genai ($OPENVINO_PYTHON)")
    parser.add_argument("--vllm-python", default=os.environ.get("VLLM_PYTHON"), metavar="PYTHON",
                        help="interpreter with vLLM for CPUs ($VLLM_PYTHON)")
    parser.add_argument("-p", "--prompt-len", type=int, default=512)
    parser.add_argument("-n", "--gen-len", type=int, default=64)
    parser.add_argument("-b", "--batch", type=lambda s: [int(b) for b in s.split(",")], default=[1])
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=lambda s: s.split(","), help="of 4-bit, 8-bit, 16-bit; default all")
    parser.add_argument("--scratch", default=os.path.expanduser("~/.cache/octavo/bench"),
                        help="where converted GGUF files are kept")
    parser.add_argument("--output", default="compare.jsonl", help="JSON lines are appended here")
    parser.add_argument("--markdown", help="also write the tables to this file, under the marker line "
                        f"'{MARKER}' when it has one")
    parser.add_argument("--chart", help="SVG file for a bar chart")
    return parser.parse_args()


def main():
    args = parse()
    os.makedirs(args.scratch, exist_ok=True)
    engines = {"octavo": Octavo(args)}
    for name, engine, program in (("llama.cpp", LlamaCpp, args.llama_cpp),
                                  ("OpenVINO GenAI", OpenVino, args.openvino_python),
                                  ("vLLM", Vllm, args.vllm_python)):
        if program and os.path.exists(program):
            engines[name] = engine(args)
        else:
            print(f"compare: {name} is left out (not given, or not found: {program})", file=sys.stderr)
    machine, results = measure(args, engines)
    report = markdown(machine, results, args)
    print(report)
    if args.markdown:
        write_markdown(args.markdown, report)
    if args.chart:
        write_chart(args.chart, medians(results))


if __name__ == "__main__":
    main()
