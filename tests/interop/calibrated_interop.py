#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads octavo's calibrated checkpoints in transformers with compressed-tensors and compares both.

usage: calibrated_interop.py OCTAVO MODEL      (MODEL: a 16-bit folder, or a GGUF, which is expanded)

Each checkpoint is made with 16 short samples of the built-in text, then both programs run the same ids:

  text    the same greedy tokens, up to the first place where the two best logits are closer than 0.25
  logits  mean KL between the two, and the share of tokens with the same most likely next one

One int8 scale for all activations of a module (W8A8_STATIC) is so coarse that a last bit becomes other codes: there
transformers in bf16 and in f32 differ as much from each other, and Octavo may differ from them by that.
"""
import json
import os
import pathlib

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import common

JOBS = {
    "FP8": [],
    "W8A8_STATIC smoothquant": ["--algorithm", "smoothquant"],
    "W8A8 smoothquant+gptq": ["--algorithm", "smoothquant+gptq"],
    "W4A16 gptq": ["--algorithm", "gptq"],
    "W4A16_ASYM awq": ["--algorithm", "awq"],
    "FP8_DYNAMIC kv": ["--kv-cache-scheme", "fp8"],
}
PROMPT = "The history of the city begins with a small settlement on the river, where"
LONG_PROMPT = (PROMPT + " ferries crossed, traders met and, in time, walls were raised. ") * 8
STEPS = 48
MARGIN = 0.25
# Quantized activations turn a last bit that differs into another code; 16-bit ones do not.
MAX_MEAN_KL = {True: 0.05, False: 0.005}


def octavo_logits(octavo, folder, ids, scratch):
    path = os.path.join(scratch, "logits.safetensors")
    common.run(octavo, "logits", folder, "--prompt-ids", ",".join(map(str, ids)), "-o", path)
    return load_file(path)["logits"]


def reference(folder):
    """The checkpoint in f32 arithmetic, so that only the quantized operands differ from dense ones."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def same_text(ours, theirs, logits, start):
    """Index of the first token that differs although the choice was clear; -1: none."""
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if a == b:
            continue
        top = logits[start + i - 1].topk(2).values
        return i if top[0] - top[1] > MARGIN else -1
    return -1


def check_scales(folder, name, checks):
    """Scales that the scheme promises are stored, positive, and equal among fused modules."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({n: file.get_tensor(n).float() for n in file.keys() if n.endswith("_scale")})
    suffix = (".k_scale", ".v_scale") if name.endswith(" kv") else (".input_scale",)
    scales = {n: t for n, t in tensors.items() if n.endswith(suffix)}
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
    if name.endswith(" kv"):
        checks.expect(config["kv_cache_scheme"]["num_bits"] == 8, f"{name}: kv_cache_scheme in config.json")
    checks.expect(scales and all(float(t.min()) > 0 for t in scales.values()),
                  f"{name}: {len(scales)} calibrated scales, all positive")
    fused = [n for n in scales if n.endswith("q_proj.input_scale")]
    equal = all(torch.equal(scales[n], scales[n.replace("q_proj", other)])
                for n in fused for other in ("k_proj", "v_proj"))
    checks.expect(equal, f"{name}: q, k and v share their input scale")


def mean_kl(p, q):
    return float((p.exp() * (p - q)).sum(-1).mean())


def check_coarse(octavo, model, folder, name, scratch, checks):
    ids = transformers.AutoTokenizer.from_pretrained(model)(LONG_PROMPT, return_tensors="pt").input_ids
    theirs = []
    for dtype in (torch.bfloat16, torch.float32):
        other = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        with torch.no_grad():
            theirs.append(other(ids, use_cache=False).logits[0].float().log_softmax(-1))
    ours = octavo_logits(octavo, folder, ids[0].tolist(), scratch).log_softmax(-1)
    between, kl = mean_kl(*theirs), mean_kl(theirs[1], ours)
    checks.expect(kl <= 1.5 * between, f"{name}: mean KL {kl:.2e} to transformers in f32, {between:.2e} from there to bf16")


def check_job(octavo, model, name, scratch, checks):
    folder = os.path.join(scratch, name.replace(" ", "_"))
    scheme = name.split()[0]
    try:
        common.run(octavo, "quantize", model, "--scheme", scheme, "-o", folder, *JOBS[name],
                   "--num-calibration-samples", 16, "--max-seq-length", 256)
    except RuntimeError as error:
        if "nor do 128, 64 and 32" not in str(error):
            raise
        print(f"  skip {name}: no group divides the layers")
        return
    if scheme in ("FP8", "W8A8_STATIC") or name.endswith(" kv"):
        check_scales(folder, name, checks)
    if scheme == "W8A8_STATIC":
        return check_coarse(octavo, model, folder, name, scratch, checks)
    other = reference(folder)
    ids = transformers.AutoTokenizer.from_pretrained(model)(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        text = other.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=STEPS,
                              eos_token_id=None, pad_token_id=0, repetition_penalty=1.0)
        theirs = other(text, use_cache=False).logits[0].float()
    report = common.run_json(octavo, "generate", folder, "--temperature", 0, "--ignore-eos", "--max-tokens", STEPS,
                             "--prompt-ids", ",".join(map(str, ids[0].tolist())))
    start = ids.shape[1]
    at = same_text(report["token_ids"], text[0, start:].tolist(), theirs, start)
    checks.expect(at < 0, f"{name}: the same text" + ("" if at < 0 else f" up to token {at}"))
    ours = octavo_logits(octavo, folder, text[0].tolist(), scratch)
    p, q = theirs.log_softmax(-1), ours.log_softmax(-1)
    kl = mean_kl(p, q)
    top = float((p.argmax(-1) == q.argmax(-1)).float().mean())
    checks.expect(kl <= MAX_MEAN_KL[not scheme.endswith(("A16", "A16_ASYM"))],
                  f"{name}: mean KL {kl:.2e}, same most likely token {100 * top:.1f} %")


def body(octavo, model, scratch, checks):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = str(common.as_folder(octavo, model, scratch))
    for name in JOBS:
        check_job(octavo, folder, name, scratch, checks)


if __name__ == "__main__":
    common.main(body)
