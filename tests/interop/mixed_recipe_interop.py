#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of mixed recipes in compressed-tensors, transformers and octavo.

usage: mixed_recipe_interop.py OCTAVO MODEL      (MODEL: a 16-bit folder, or a GGUF, which is expanded)

For each recipe: compressed-tensors parses the config and finds one group for every stored module and
none for dense ones; transformers loads the folder, its weights are those of `octavo dequantize` bit for
bit, and where activations are not rounded its predictions are octavo's.
"""
import json
import pathlib

import torch
import transformers
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils import match_name
from safetensors import safe_open
from safetensors.torch import load_file

import common

TEXT = """Once upon a time there was a little village at the edge of a great forest. The people who lived
there grew wheat and barley, kept bees, and told each other stories when the evenings became long."""

# Recipe, and whether its activations stay in 16 bit.
RECIPES = {
    "widths of one form": (True, """
QuantizationModifier:
  config_groups:
    most: {targets: [Linear], scheme: W4A16, group_size: 32}
    down: {targets: ['re:.*down_proj'], scheme: W8A16, group_size: 32}
    first: {targets: ['re:model\\.layers\\.0\\.'], scheme: BF16}
"""),
    "several forms": (False, """
QuantizationModifier:
  config_groups:
    attention: {targets: ['re:.*self_attn'], scheme: W8A8}
    mlp: {targets: ['re:.*mlp\\.(gate|up)_proj'], scheme: W4A16, group_size: 32}
    down: {targets: ['re:.*down_proj'], scheme: FP8_DYNAMIC}
    exact: {targets: [model.layers.1.self_attn.o_proj], scheme: BF16}
"""),
}
MAX_MEAN_KL = 1e-3  # octavo's bf16 activations against f32 ones


def stored_modules(folder):
    suffixes = (".weight_packed", ".weight")
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = set(file.keys())
    quantized = {n.removesuffix(".weight_scale") for n in names if n.endswith(".weight_scale")}
    every = {n.removesuffix(s) for n in names for s in suffixes if n.endswith(s) and "_proj" in n}
    return quantized, every - quantized


def check_groups(folder, checks):
    config = QuantizationConfig.model_validate(
        json.loads((folder / "config.json").read_text())["quantization_config"])
    quantized, dense = stored_modules(folder)

    def groups_of(module):
        return [name for name, group in config.config_groups.items()
                if any(match_name(module, target) for target in group.targets)]

    once = sum(len(groups_of(module)) == 1 for module in quantized)
    checks.expect(once == len(quantized), f"{once} of {len(quantized)} modules are in one group")
    ignored = sum(module in config.ignore and not groups_of(module) for module in dense)
    checks.expect(ignored == len(dense), f"{ignored} of {len(dense)} dense modules are ignored")


def check_weights(octavo, folder, model, scratch, checks):
    dense = pathlib.Path(scratch) / "dense.safetensors"
    common.run(octavo, "dequantize", folder, "-o", dense)
    model(torch.tensor([[1]]))  # decompresses the weights
    state = model.state_dict()
    values = load_file(dense)
    equal = sum(torch.equal(value.to(state[name].dtype), state[name]) for name, value in values.items())
    checks.expect(equal == len(values) > 0, f"{equal} of {len(values)} weights bit-equal to transformers'")


def check_predictions(octavo, folder, scratch, checks):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
    path = pathlib.Path(scratch) / "logits.safetensors"
    common.run(octavo, "logits", folder, "--prompt-ids", ",".join(map(str, ids)), "-o", path)
    with torch.no_grad():
        p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    q = load_file(path)["logits"].log_softmax(-1)
    kl = float((p.exp() * (p - q)).sum(-1).mean())
    checks.expect(kl <= MAX_MEAN_KL, f"mean KL divergence from transformers {kl:.1e}")


def body(octavo, model, scratch, checks):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = common.as_folder(octavo, model, scratch)
    for index, (name, (weights_only, recipe)) in enumerate(RECIPES.items()):
        print(name)
        path = pathlib.Path(scratch) / f"recipe{index}.yaml"
        path.write_text(recipe)
        folder = pathlib.Path(scratch) / f"mixed{index}"
        common.run(octavo, "quantize", source, "--recipe", path, "-o", folder)
        check_groups(folder, checks)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", attn_implementation="eager").eval()
        check_weights(octavo, folder, model, scratch, checks)
        if weights_only:
            check_predictions(octavo, folder, scratch, checks)


if __name__ == "__main__":
    common.main(body)
