#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares logits and greedy tokens with transformers.

usage: transformers_parity.py OCTAVO MODEL      (MODEL: a 16-bit folder, or a GGUF, which is expanded)

  import  the expanded GGUF's weights are bit-equal to transformers' own expansion
  f32     logits within 1e-3, the same greedy tokens for 64 steps on 5 prompts
  bf16    against the f32 logits, teacher-forced on those texts: the same most likely token wherever
          the f32 margin is above 0.1, mean KL at most 1e-3
"""
import os

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import common

STEPS = 64
LOGITS_TOLERANCE = 1e-3
MARGIN = 0.1
MAX_MEAN_KL = 1e-3
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    \"\"\"Returns the n-th Fibonacci number.\"\"\"\n",
    "Once upon a time, in a small village by the sea,",
    "Die Würde des Menschen ist unantastbar. Translation:",
    "1, 1, 2, 3, 5, 8, 13,",
]


def octavo_logits(octavo, model, ids, dtype, scratch):
    path = os.path.join(scratch, "logits.safetensors")
    common.run(octavo, "logits", model, "--dtype", dtype, "--prompt-ids", ",".join(map(str, ids)),
               "-o", path)
    return load_file(path)["logits"]


def reference_texts(reference, folder, prompts):
    """Per prompt: its ids, transformers' 64 greedy tokens, and the f32 logits of both together."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            greedy = reference.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=STEPS,
                eos_token_id=None, pad_token_id=0, repetition_penalty=1.0)
            logits = reference(greedy).logits[0]
        texts.append((ids[0].tolist(), greedy[0, ids.shape[1]:].tolist(), logits))
    return texts


def check_f32(octavo, folder, texts, scratch, checks):
    largest, same = 0.0, 0
    for ids, greedy, expected in texts:
        logits = octavo_logits(octavo, folder, ids + greedy, "float32", scratch)
        largest = max(largest, (logits - expected).abs().max().item())
        report = common.run_json(octavo, "generate", folder, "--dtype", "float32", "--temperature", 0,
                                 "--ignore-eos", "--max-tokens", STEPS, "--prompt-ids",
                                 ",".join(map(str, ids)))
        same += report["token_ids"] == greedy
    checks.expect(largest <= LOGITS_TOLERANCE, f"f32 logits: largest difference {largest:.2e}")
    checks.expect(same == len(texts), f"f32 greedy tokens: {same} of {len(texts)} prompts equal")


def check_bf16(octavo, folder, texts, scratch, checks):
    kl, sure, agree = [], 0, 0
    for ids, greedy, expected in texts:
        logits = octavo_logits(octavo, folder, ids + greedy, "bfloat16", scratch)
        p, q = expected.log_softmax(-1), logits.log_softmax(-1)
        kl.append((p.exp() * (p - q)).sum(-1))
        top = expected.topk(2).values
        clear = top[:, 0] - top[:, 1] > MARGIN
        sure += int(clear.sum())
        agree += int((logits.argmax(-1) == expected.argmax(-1))[clear].sum())
    mean_kl = torch.cat(kl).mean().item()
    checks.expect(agree == sure, f"bf16 most likely token: {agree} of {sure} clear positions equal")
    checks.expect(mean_kl <= MAX_MEAN_KL, f"bf16 mean KL {mean_kl:.2e}")


def check_import(gguf, folder, checks):
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.dirname(gguf), gguf_file=os.path.basename(gguf), dtype=torch.float32)
    want = {name: value.to(torch.bfloat16) for name, value in reference.state_dict().items()}
    with safe_open(folder / "model.safetensors", "pt") as file:
        wrong = [name for name in file.keys() if not torch.equal(file.get_tensor(name), want[name])]
        count = len(list(file.keys()))
    checks.expect(not wrong, f"imported weights: {count - len(wrong)} of {count} tensors bit-equal")


def check_model(octavo, folder, scratch, checks, prompts=PROMPTS):
    print(f"{folder}")
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    texts = reference_texts(reference, folder, prompts)
    check_f32(octavo, folder, texts, scratch, checks)
    check_bf16(octavo, folder, texts, scratch, checks)


def body(octavo, model, scratch, checks):
    transformers.logging.set_verbosity_error()
    folder = common.as_folder(octavo, model, scratch)
    gguf = os.environ.get("OCTAVO_DEFAULT_GGUF", model)  # set by scripts/interop.sh
    if gguf.endswith(".gguf"):
        check_import(gguf, folder, checks)
    check_model(octavo, folder, scratch, checks)
    stories = common.shared() and common.shared() / "models" / "stories260K-f32"
    if stories and stories.is_dir():
        check_model(octavo, stories, scratch, checks,
                    ["Once upon a time", "Lily and Tom", "The dog", "One day, a girl", "She was"])
    else:
        print("stories260K: skipped, OCTAVO_SHARED is not set")


if __name__ == "__main__":
    common.main(body)
