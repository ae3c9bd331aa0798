# SPDX-License-Identifier: Apache-2.0
"""The engines of compare.py. Each `run` gives prefill_tok_s and decode_tok_s of one process."""
import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 1800


def output_of(command, **environment):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIMEOUT_S, env=os.environ | environment, check=False)
    if done.returncode != 0:
        raise ValueError(f"{pathlib.Path(command[0]).name}: exit {done.returncode}: {done.stderr[-200:]}")
    return done.stdout


class Octavo:
    def __init__(self, args):
        self.args = args

    def isa(self):
        for line in output_of([self.args.octavo, "info"]).splitlines():
            if line.startswith("active isa"):
                return line.split()[-1]
        return "unknown"

    def run(self, model, flags, batch):
        a = self.args
        report = json.loads(output_of([a.octavo, "bench", "model", model, *flags, "-p", a.prompt_len, "-n",
                                       a.gen_len, "-b", batch, "-t", a.threads, "-r", 1, "-o", "json"]))
        return report["results"][0]


class LlamaCpp:
    def __init__(self, args):
        self.args = args

    def run(self, gguf, batch):
        a = self.args
        if batch == 1:
            rows = json.loads(output_of([f"{a.llama_cpp}/llama-bench", "-m", gguf, "-p", a.prompt_len, "-n",
                                         a.gen_len, "-t", a.threads, "-r", 1, "-o", "json"]))
            speed = {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in rows}
            return {"prefill_tok_s": speed["prefill"], "decode_tok_s": speed["decode"]}
        rows = output_of([f"{a.llama_cpp}/llama-batched-bench", "-m", gguf, "-npp", a.prompt_len, "-ntg",
                          a.gen_len, "-npl", batch, "-t", a.threads, "-tb", a.threads, "-c",
                          batch * (a.prompt_len + a.gen_len + 32), "--output-format", "jsonl"])
        row = next(json.loads(line) for line in rows.splitlines() if line.startswith("{"))
        return {"prefill_tok_s": row["speed_pp"], "decode_tok_s": row["speed_tg"]}


class OpenVino:
    def __init__(self, args):
        self.args = args

    def run(self, gguf, batch):
        a = self.args
        return json.loads(output_of([a.openvino_python, HERE / "openvino_bench.py", gguf, a.prompt_len,
                                     a.gen_len, batch, a.threads]).splitlines()[-1])


class Vllm:
    def __init__(self, args):
        self.args = args

    def run(self, model, batch):
        a = self.args
        return json.loads(output_of([a.vllm_python, HERE / "vllm_bench.py", model, a.prompt_len, a.gen_len,
                                     batch], VLLM_CPU_KVCACHE_SPACE="4", VLLM_LOGGING_LEVEL="ERROR",
                                    OMP_NUM_THREADS=str(a.threads)).splitlines()[-1])
