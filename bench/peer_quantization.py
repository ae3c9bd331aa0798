#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times `octavo quantize` against llm-compressor on the same calibration tokens: a Markdown table.

usage: peer_quantization.py --model FOLDER --work FOLDER --python PYTHON [--octavo PROGRAM]
                            [--num-samples 128] [--max-seq-length 512] [--repetitions 1]
                            [--only NAME[,NAME...]] [--perplexity TEXT [--max-windows N]]

PYTHON is the interpreter of an environment with llmcompressor. Both programs run as
processes of their own, one after the other, from reading MODEL to the written checkpoint; time is wall time, peak
memory the process's largest resident set. Every run is kept in --work: a run that was interrupted continues. With
--perplexity, `octavo perplexity` measures what both made.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
DAMPING = ["--dampening-frac", "0.01"]  # llm-compressor's
# Name: octavo's arguments. The worker below knows llm-compressor's recipe of the same name.
JOBS = {
    "FP8_DYNAMIC": ["--scheme", "FP8_DYNAMIC"],
    "FP8 static": ["--scheme", "FP8"],
    "W8A8 SmoothQuant+GPTQ": ["--scheme", "W8A8", "--algorithm", "smoothquant+gptq", "--smoothing-strength", "0.8",
                              *DAMPING],
    "W4A16 GPTQ": ["--scheme", "W4A16", "--algorithm", "gptq", *DAMPING],
    "W4A16_ASYM AWQ": ["--scheme", "W4A16_ASYM", "--algorithm", "awq"],
}
WITHOUT_DATA = {"FP8_DYNAMIC"}


def make_samples(args):
    """Calibration tokens of both sides: a JSON-lines file of {"token_ids": [...]}."""
    path = args.work / f"tokens_{args.num_samples}x{args.max_seq_length}.jsonl"
    if path.exists():
        return path
    text = args.text.read_text(encoding="utf-8")
    if args.text.suffix == ".jsonl":
        text = "\n\n".join(json.loads(line)["text"] for line in text.splitlines() if line)
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(str(args.model / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    windows = len(ids) // args.max_seq_length
    if windows < args.num_samples:
        sys.exit(f"{args.text}: {windows} windows of {args.max_seq_length} tokens, want {args.num_samples}")
    lines = []
    for i in range(args.num_samples):
        begin = i * windows // args.num_samples * args.max_seq_length
        lines.append(json.dumps({"token_ids": ids[begin:begin + args.max_seq_length]}))
    temporary = path.with_suffix(".partial")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.rename(path)
    return path


def timed(command, log):
    """Wall seconds and largest resident set of one process."""
    start = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = pathlib.Path(log).read_text(encoding="utf-8", errors="replace")[-2000:]
        sys.exit(f"{command[0]}: exit {process.returncode}\n{tail}")
    return {"seconds": time.monotonic() - start, "peak_rss_bytes": usage.ru_maxrss * 1024}


def command_of(args, tool, job, samples, folder):
    if tool == "octavo":
        data = [] if job in WITHOUT_DATA else ["--calibration-data", samples, "--num-calibration-samples",
                                               args.num_samples, "--max-seq-length", args.max_seq_length]
        return [args.octavo, "quantize", args.model, "-o", folder, "--overwrite", *JOBS[job], *data]
    return [args.python, __file__, "--worker", job, "--model", args.model, "--work", folder, "--samples", samples]


def measure(args, tool, job, repetition, samples):
    key = f"{job.replace(' ', '_')}.{tool}.{args.num_samples}x{args.max_seq_length}"
    record = args.work / f"{key}.{repetition}.json"
    folder = args.work / key
    if record.exists():
        return json.loads(record.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{job}: {tool}, run {repetition + 1}", file=sys.stderr, flush=True)
    result = timed(command_of(args, tool, job, samples, folder), args.work / f"{key}.{repetition}.log")
    if args.perplexity:
        windows = ["--max-windows", str(args.max_windows)] if args.max_windows else []
        done = subprocess.run([args.octavo, "perplexity", folder, "--file", args.perplexity, "--json", "-", *windows],
                              stdout=subprocess.PIPE, check=True, text=True)
        result["perplexity"] = json.loads(done.stdout)["perplexity"]
    record.write_text(json.dumps(result))
    return result


def table(args, samples):
    head = "| job | Octavo s | llm-compressor s | times faster | Octavo MB | llm-compressor MB | share of memory |"
    if args.perplexity:
        head += " Octavo ppl | llm-compressor ppl |"
    print(head)
    print("|---" * (head.count("|") - 1) + "|")
    for job in args.only or JOBS:
        runs = {"octavo": [], "peer": []}
        for repetition in range(args.repetitions):
            for tool in runs:  # alternately: a slow minute of the machine meets both
                runs[tool].append(measure(args, tool, job, repetition, samples))
        seconds = {tool: statistics.median(r["seconds"] for r in rs) for tool, rs in runs.items()}
        memory = {tool: max(r["peak_rss_bytes"] for r in rs) / 1e6 for tool, rs in runs.items()}
        cells = [job, f"{seconds['octavo']:.1f}", f"{seconds['peer']:.1f}",
                 f"{seconds['peer'] / seconds['octavo']:.1f}", f"{memory['octavo']:.0f}", f"{memory['peer']:.0f}",
                 f"{memory['octavo'] / memory['peer']:.2f}"]
        if args.perplexity:
            cells += [f"{runs[tool][0]['perplexity']:.3f}" for tool in runs]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"\n{args.model.name}, {args.num_samples} samples of {args.max_seq_length} tokens; median time and largest "
          f"memory of {args.repetitions} run(s) each, alternating.")


def recipe_of(job):
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
    common = {"targets": ["Linear"], "ignore": ["lm_head"]}
    return {
        "FP8_DYNAMIC": lambda: [QuantizationModifier(scheme="FP8_DYNAMIC", **common)],
        "FP8 static": lambda: [QuantizationModifier(scheme="FP8", **common)],
        "W8A8 SmoothQuant+GPTQ": lambda: [SmoothQuantModifier(smoothing_strength=0.8),
                                          GPTQModifier(scheme="W8A8", **common)],
        "W4A16 GPTQ": lambda: [GPTQModifier(scheme="W4A16", **common)],
        "W4A16_ASYM AWQ": lambda: [AWQModifier(), QuantizationModifier(scheme="W4A16_ASYM", **common)],
    }[job]()


def fit_groups(recipe, model):
    """Groups of 128 where they divide every layer, else 64 or 32: what octavo quantize takes too."""
    import torch
    from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
    columns = [m.in_features for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    group = next(g for g in (128, 64, 32) if all(c % g == 0 for c in columns))
    for modifier in recipe:
        name = getattr(modifier, "scheme", None)
        if not isinstance(name, str) or not name.startswith("W4A16") or group == 128:
            continue
        scheme: QuantizationScheme = preset_name_to_scheme(name, ["Linear"])
        scheme.weights.group_size = group
        modifier.scheme = None
        modifier.config_groups = {"group_0": scheme}


def work(args):
    """llm-compressor's side, in PYTHON: the documented use of oneshot."""
    from datasets import Dataset
    from llmcompressor import oneshot
    import torch
    from transformers import AutoModelForCausalLM
    if not torch.accelerator.is_available():  # its AWQ pins memory for a device, whether there is one or not
        torch.Tensor.pin_memory = lambda tensor, *_: tensor
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype="auto")
    recipe = recipe_of(args.worker)
    fit_groups(recipe, model)
    data = {}
    if args.worker not in WITHOUT_DATA:
        ids = [json.loads(line)["token_ids"] for line in args.samples.read_text().splitlines()]
        rows = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
        data = {"dataset": Dataset.from_dict(rows), "max_seq_length": max(map(len, ids)),
                "num_calibration_samples": len(ids), "shuffle_calibration_samples": False}
    oneshot(model=model, recipe=recipe, **data)
    model.save_pretrained(args.work, save_compressed=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (args.model / name).exists():
            shutil.copy(args.model / name, args.work)


def main():
    shared = pathlib.Path(os.environ.get("OCTAVO_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--text", type=pathlib.Path, default=shared / "data/c4/train00000_first400.jsonl",
                        help="text, or JSON lines with \"text\", that the calibration windows are cut from")
    parser.add_argument("--num-samples", type=int, default=128)
    parser.add_argument("--max-seq-length", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--only", type=lambda s: s.split(","), help="names of jobs: " + ", ".join(JOBS))
    parser.add_argument("--perplexity", type=pathlib.Path, metavar="TEXT")
    parser.add_argument("--max-windows", type=int, default=0)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args)
    args.work.mkdir(parents=True, exist_ok=True)
    samples = args.work / f"tokens_{args.num_samples}x{args.max_seq_length}.jsonl"
    if not samples.exists():  # needs the tokenizers package, which PYTHON has
        import importlib.util
        if importlib.util.find_spec("tokenizers") is None:
            os.execv(args.python, [args.python, __file__, *sys.argv[1:]])
        make_samples(args)
    table(args, samples)


if __name__ == "__main__":
    main()
