#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LLM.int8() against bitsandbytes through transformers, on the default model.

    bitsandbytes_parity.py OCTAVO MODEL

1. `octavo quantize --scheme LLM_INT8` stores the int8 weights, SCB and weight_format that bitsandbytes
   stores, bit for bit; the other tensors are the source's.
2. transformers loads Octavo's folder as its own: the same modules, bit for bit. Their logits are only close where
   torch's sums depend on where its memory lies.
3. Octavo's logits on that folder lie as close to bitsandbytes' as bitsandbytes' lie to exact arithmetic
   with the same weights and decomposition: the difference is its rounding (bf16 sums, outliers per batch).
"""
import json
import logging
import os
import pathlib
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

import common

TEXT = ("The lighthouse keeper counted ships as other people count sheep. There were eleven on the night of "
        "the storm, and by morning there were ten lights and one boat full of tired men at his door.")
THRESHOLD = 6.0


def tensors_of(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def load(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", **options).eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double()


def kl(p, q):
    """Mean KL divergence in nats of rows of logits."""
    p, q = p.log_softmax(-1), q.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


class ExactInt8Linear(torch.nn.Module):
    """LLM.int8() in double precision: int8 per token, outliers per token, nothing else rounded."""

    def __init__(self, codes, absmax, bias):
        super().__init__()
        self.weight = codes.double() * (absmax.double() / 127)[:, None]
        self.bias = bias

    def forward(self, x):
        x = x.double()
        outlier = x.abs() >= THRESHOLD
        regular = torch.where(outlier, 0.0, x)
        absmax = regular.abs().amax(-1, keepdim=True).clamp_min(1e-30)
        rounded = torch.round(regular * (127 / absmax)) * (absmax / 127)
        y = (rounded + torch.where(outlier, x, 0.0)) @ self.weight.T
        return (y if self.bias is None else y + self.bias.double()).float()


def exact_twin(source, tensors):
    """The source in f32 with every stored int8 module replaced."""
    model = load(source, dtype=torch.float32)
    for name in [n[:-len(".SCB")] for n in tensors if n.endswith(".SCB")]:
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent)
        bias = getattr(owner, leaf).bias
        setattr(owner, leaf, ExactInt8Linear(tensors[name + ".weight"], tensors[name + ".SCB"], bias))
    return model


def check_stored(checks, ours, theirs):
    for suffix in (".SCB", ".weight_format"):
        names = {n for n in theirs if n.endswith(suffix)}
        same = names and names == {n for n in ours if n.endswith(suffix)}
        same = same and all(torch.equal(ours[n], theirs[n].reshape(ours[n].shape)) for n in names)
        checks.expect(same, f"{len(names)} {suffix[1:]} tensors equal bitsandbytes'")
    modules = [n[:-len(".SCB")] for n in theirs if n.endswith(".SCB")]
    equal = sum(torch.equal(ours[m + ".weight"], theirs[m + ".weight"]) for m in modules)
    checks.expect(equal == len(modules), f"int8 weights equal bitsandbytes' in {equal} of {len(modules)} modules")
    rest = [n for n in theirs if not any(n.startswith(m + ".") for m in modules) and n in ours]
    checks.expect(rest and all(torch.equal(ours[n], theirs[n]) for n in rest), f"{len(rest)} other tensors are equal")


def check_loaded(checks, bnb, reloaded):
    """The model that transformers made from Octavo's folder against the one that it quantized itself."""
    want, have = bnb.state_dict(), reloaded.state_dict()
    equal = sum(n in have and torch.equal(have[n], want[n]) for n in want)
    checks.expect(have.keys() == want.keys() and equal == len(want),
                  f"transformers loads Octavo's folder: {equal} of {len(want)} tensors equal its own")


def main():
    octavo, model = sys.argv[1:3]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line per layer about its casts
    checks = common.Checks()
    with tempfile.TemporaryDirectory() as scratch:
        source = common.as_folder(octavo, model, scratch)
        ours = pathlib.Path(scratch) / "ours"
        common.run(octavo, "quantize", source, "--scheme", "LLM_INT8", "-o", ours)
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=THRESHOLD)
        bnb = load(source, dtype=torch.bfloat16, quantization_config=config)
        theirs = pathlib.Path(scratch) / "theirs"
        bnb.save_pretrained(theirs)
        ids = AutoTokenizer.from_pretrained(source)(TEXT)["input_ids"]
        stored = tensors_of(ours)
        check_stored(checks, stored, tensors_of(theirs))
        written = json.loads((theirs / "config.json").read_text())["quantization_config"]
        own = json.loads((ours / "config.json").read_text())["quantization_config"]
        same = {k for k in written if k in own and k != "llm_int8_skip_modules"}
        checks.expect(all(own[k] == written[k] for k in same), f"{len(same)} fields of quantization_config are equal")

        want = logits_of(bnb, ids)
        reloaded = load(ours, dtype=torch.bfloat16)
        check_loaded(checks, bnb, reloaded)
        drift = kl(want, logits_of(reloaded, ids))

        out = pathlib.Path(scratch) / "logits.safetensors"
        have = {}
        for name, folder in (("ours", ours), ("theirs", theirs)):
            common.run(octavo, "logits", folder, "--prompt-ids", ",".join(map(str, ids)), "-o", out)
            have[name] = load_file(out)["logits"].double()
        checks.expect(torch.equal(have["ours"], have["theirs"]), "Octavo computes the same logits from both folders")
        exact = logits_of(exact_twin(source, stored), ids)
        own_kl, bnb_kl, between = kl(exact, have["ours"]), kl(exact, want), kl(want, have["ours"])
        top1 = float((want.argmax(-1) == have["ours"].argmax(-1)).double().mean())
        print(f"  KL in nats: exact to Octavo {own_kl:.2e}, exact to bitsandbytes {bnb_kl:.2e}, "
              f"bitsandbytes to Octavo {between:.2e}; same top token {100 * top1:.1f} %")
        checks.expect(own_kl <= bnb_kl * 1.5 + 1e-4, "Octavo is no further from exact LLM.int8() than bitsandbytes")
        # Two independent errors add in the square root of KL: at most 4 times the larger.
        checks.expect(drift <= 4 * bnb_kl + 1e-4, f"its logits from Octavo's folder are as close: KL {drift:.2e}")
        checks.expect(between <= 4 * max(own_kl, bnb_kl) + 1e-4, "the two differ by their rounding")
    return checks.exit_code()


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
