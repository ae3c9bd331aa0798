# SPDX-License-Identifier: Apache-2.0
"""`lm_eval --model local-completions` against `octavo serve`: the scores of transformers in f32.

A task of questions written here (nothing is fetched) is run twice, over HTTP and offline with
`lm_eval --model hf`. Accuracies must be equal, log-likelihoods equal to four digits.
usage: lm_eval_interop.py OCTAVO MODEL
"""
import glob
import json
import os
import pathlib
import subprocess
import sys

import common

TASK = """task: octavo_facts
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
FACTS = [
    ("What is the capital of France?", ["Paris", "Lyon", "London", "Rome"], 0),
    ("Which planet is known as the red planet?", ["Venus", "Mars", "Jupiter", "Neptune"], 1),
    ("What do bees make?", ["milk", "silk", "honey", "paper"], 2),
    ("How many legs does a spider have?", ["four", "six", "eight", "ten"], 2),
    ("What is frozen water called?", ["steam", "ice", "sand", "oil"], 1),
    ("Which animal barks?", ["a dog", "a cat", "a cow", "a fish"], 0),
    ("What gas do plants take in from the air?", ["helium", "neon", "carbon dioxide", "argon"], 2),
    ("In which direction does the sun rise?", ["in the north", "in the west", "in the south", "in the east"], 3),
    ("What is used to write on a blackboard?", ["a spoon", "chalk", "a hammer", "butter"], 1),
    ("Which of these is a musical instrument?", ["a violin", "a ladder", "a carrot", "a lamp"], 0),
    ("What is the opposite of hot?", ["warm", "loud", "cold", "bright"], 2),
    ("Which language is spoken in Brazil?", ["Portuguese", "Japanese", "Polish", "Swahili"], 0),
]


def evaluate(scratch, name, model_args, *flags):
    """Runs lm_eval; returns its metrics and, sorted by question and choice, the log-likelihoods."""
    out = pathlib.Path(scratch) / name
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                   "HF_DATASETS_CACHE": str(pathlib.Path(scratch) / "datasets")}
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "--include_path", scratch, "--tasks", "octavo_facts", "--log_samples",
         "--output_path", str(out), "--model_args", model_args, *flags],
        capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"lm_eval {name}: exit {done.returncode}: {done.stderr[-1500:]}")
    with open(glob.glob(f"{out}/**/results_*.json", recursive=True)[0]) as file:
        metrics = json.load(file)["results"]["octavo_facts"]
    with open(glob.glob(f"{out}/**/samples_*.jsonl", recursive=True)[0]) as file:
        samples = sorted(map(json.loads, file), key=lambda s: s["doc_id"])
    return ({key: value for key, value in metrics.items() if key.startswith("acc") and "stderr" not in key},
            [float(choice[0]) for s in samples for choice in s["filtered_resps"]])


def body(octavo, model, scratch, checks):
    folder = common.as_folder(octavo, model, scratch)
    data = pathlib.Path(scratch) / "facts.jsonl"
    data.write_text("".join(json.dumps({"question": q, "choices": c, "gold": g}) + "\n" for q, c, g in FACTS))
    (pathlib.Path(scratch) / "octavo_facts.yaml").write_text(TASK.format(data=data))
    with common.Serving(octavo, folder, "--dtype", "float32", "--max-model-len", 1024,
                        "--kv-cache-memory-bytes", "256MiB") as serving:
        ours, our_scores = evaluate(
            scratch, "octavo", f"model={serving.model},base_url={serving.url}/v1/completions,num_concurrent=4,"
            f"tokenizer={folder},tokenizer_backend=huggingface", "--model", "local-completions")
        serving.stop()
    theirs, their_scores = evaluate(scratch, "transformers", f"pretrained={folder},dtype=float32",
                                    "--model", "hf", "--device", "cpu", "--batch_size", "4")
    checks.expect(len(our_scores) == sum(len(c) for _, c, _ in FACTS), f"{len(our_scores)} choices scored")
    for metric, value in theirs.items():
        checks.expect(abs(ours[metric] - value) < 5e-5, f"{metric} {ours[metric]:.4f}, offline {value:.4f}")
    worst = max(abs(a - b) / abs(b) for a, b in zip(our_scores, their_scores))
    checks.expect(worst < 1e-4, f"log-likelihoods equal to four digits (largest relative difference {worst:.1e})")


if __name__ == "__main__":
    common.main(body)
