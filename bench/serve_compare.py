#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Octavo's server, llama-server and vLLM's in alternation under one load client, and prints a table.

usage: serve_compare.py [OPTIONS] FOLDER      engines are given as to compare.py (see bench/README.md)

The client is `octavo bench serve`: random token prompts, greedy, full length, --clients requests at once. Octavo
runs the folder in W4A8 and W8A8 and as it is (BF16), llama-server the Q4_0 file that `octavo convert` makes of it,
vLLM the folder in BF16. Medians over the rounds; ratios compare the first Octavo row with the row they stand in.
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from compare import ROOT, commit, cpu_name, make_gguf
from engines import Octavo

sys.path.insert(0, str(ROOT / "tests/interop"))
from common import Serving, run_json  # noqa: E402

BEGIN = "<!-- bench/serve_compare.py: begin -->"
END = "<!-- bench/serve_compare.py: end -->"
START_TIMEOUT_S = 600


class Peer:
    """Another engine's server on a free port, ready when the constructor returns."""

    def __init__(self, command, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=os.environ | environment)
        deadline = time.time() + START_TIMEOUT_S
        while not self.ready():
            if self.process.poll() is not None or time.time() > deadline:
                self.stop()
                raise RuntimeError(f"{pathlib.Path(command[0]).name} did not start")
            time.sleep(0.5)

    def ready(self):
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=2) as reply:
                return reply.status == 200
        except OSError:  # also HTTP errors while it loads
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def servers(args):
    """(label, function that starts it) of every engine that was given."""
    length = args.input_len + args.output_len
    common = ["-t", args.threads, "--max-num-seqs", args.clients, "--max-model-len", length]
    for label, flags in (("Octavo W4A8", ["--quantization", "w4a8", "--lm-head-dtype", "int4"]),
                         ("Octavo W8A8", ["--quantization", "int8", "--lm-head-dtype", "int8"]),
                         ("Octavo BF16", [])):
        if not args.cases or label.split()[1] in args.cases:
            yield label, lambda flags=flags: Serving(args.octavo, args.model, *common, *flags)
    if args.llama_cpp and (not args.cases or "Q4_0" in args.cases):
        gguf = make_gguf(args.octavo, args.model, "q4_0", args.scratch)
        yield "llama-server Q4_0", lambda: Peer(
            [f"{args.llama_cpp}/llama-server", "-m", gguf, "-t", args.threads, "-tb", args.threads, "-np", args.clients,
             "-c", args.clients * (length + 32), "--host", "127.0.0.1"])
    if args.vllm_python and (not args.cases or "BF16" in args.cases):
        yield "vLLM BF16", lambda: Peer(
            [args.vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", args.model, "--host", "127.0.0.1",
             "--dtype", "bfloat16", "--max-model-len", length, "--max-num-seqs", args.clients],
            VLLM_CPU_KVCACHE_SPACE="4", VLLM_LOGGING_LEVEL="ERROR", OMP_NUM_THREADS=str(args.threads),
            HF_HUB_OFFLINE="1")


def measure(args, start):
    server = start()
    try:
        return run_json(args.octavo, "bench", "serve", "--base-url", server.url, "--max-concurrency", args.clients,
                        "--num-prompts", args.num_prompts, "--input-len", args.input_len, "--output-len", args.output_len,
                        "--vocab-size", args.vocab_size)
    finally:
        server.stop()


def run_rounds(args):
    """{label: [result of each round]}; what fails is reported and left out."""
    results = {}
    for round_index in range(args.rounds):
        for label, start in servers(args):
            try:
                result = measure(args, start)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                print(f"serve_compare: {label}: {error}", file=sys.stderr)
                continue
            results.setdefault(label, []).append(result)
            print(f"serve_compare: round {round_index + 1}/{args.rounds} {label}: {result['output_throughput']:.1f} tok/s, "
                  f"{result['failed']} failed", file=sys.stderr, flush=True)
    return results


def markdown(args, results):
    lines = [f"{cpu_name()}, ISA {Octavo(args).isa()}, {args.threads} threads, commit {commit()}: "
             f"{pathlib.Path(args.model).name}, {args.num_prompts} requests of {args.input_len} + {args.output_len} tokens, "
             f"{args.clients} at once; medians of {args.rounds} rounds.", "",
             "| server | generated tok/s | ratio | median TTFT ms | median ITL ms | p99 ITL ms | failed |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    own = next(iter(results.values()), [])
    for label, rounds in results.items():
        def cell(key):
            return f"{statistics.median(r[key] for r in rounds):.1f}"
        ratio = statistics.median(a["output_throughput"] / b["output_throughput"] for a, b in zip(own, rounds))
        lines.append(f"| {label} | {cell('output_throughput')} | {ratio:.2f}x | {cell('median_ttft_ms')} "
                     f"| {cell('median_itl_ms')} | {cell('p99_itl_ms')} | {sum(r['failed'] for r in rounds)} |")
    return "\n".join(lines)


def write_between(path, report):
    text = pathlib.Path(path).read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"serve_compare.py: {path} lacks '{BEGIN}' and '{END}'")
    head, rest = text.split(BEGIN, 1)
    pathlib.Path(path).write_text(f"{head}{BEGIN}\n{report}\n{END}{rest.split(END, 1)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--octavo", default=str(ROOT / "build/release/octavo"))
    parser.add_argument("--llama-cpp", default=os.environ.get("LLAMA_CPP_BIN"))
    parser.add_argument("--vllm-python", default=os.environ.get("VLLM_PYTHON"))
    parser.add_argument("--scratch", default=os.path.expanduser("~/.cache/octavo/bench"))
    parser.add_argument("--cases", type=lambda text: text.split(","), help="W4A8,W8A8,BF16,Q4_0; default: all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--num-prompts", type=int, default=64)
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    parser.add_argument("--markdown", metavar="FILE", help=f"replace what stands between '{BEGIN}' and its end")
    parser.add_argument("model", metavar="FOLDER")
    args = parser.parse_args()
    args.vocab_size = json.loads((pathlib.Path(args.model) / "config.json").read_text())["vocab_size"]
    os.makedirs(args.scratch, exist_ok=True)
    report = markdown(args, run_rounds(args))
    print(report)
    if args.markdown:
        write_between(args.markdown, report)


if __name__ == "__main__":
    main()
