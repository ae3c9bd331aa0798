#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds to tests/golden/schemes the forms of GPTQ, AWQ, bitsandbytes and FP4, made by their libraries.

    make_forms.py tests/golden/schemes [NAME...]

The layout of a folder is that of make_schemes.py. Needs torch, auto-round, bitsandbytes and
compressed-tensors (tests/interop/requirements.txt). checkpoint_forms_interop.py uses MAKERS too: it maps
a form's name to (library that checks it, function of (weight, seed) -> (tensors by local name,
quantization_config, dequantized weight)). Values come from the library's own dequantization; act-order
GPTQ reorders its integers, and AutoFP8 and omniserve's form, which no installable library reads, use the
formula. No quantization_config (None): the form is told by its tensors.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file


def grouped(weight, group):
    return weight.unflatten(-1, (-1, group if group > 0 else weight.shape[1]))


def int_params(weight, bits, group, sym):
    """Scales [n, groups] F16 and zeros [n, groups] int32, round to nearest."""
    blocks = grouped(weight.float(), group)
    top = 2**bits - 1
    if sym:
        scale = (blocks.abs().amax(-1) * 2 / top).clamp(min=1e-5).half()
        return scale, torch.full(scale.shape, 2 ** (bits - 1), dtype=torch.int32)
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scale = ((high - low) / top).clamp(min=1e-5).half()
    # 1 at least: v1 stores zero - 1, and readers differ on what a borrow means.
    return scale, torch.clamp(torch.round(-low / scale.float()), 1, top).to(torch.int32)


def gptq(bits, group, sym, version, act_order=False):
    def make(weight, seed):
        from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp
        module = qlinear_torch_zp if version == 1 else qlinear_torch
        n, k = weight.shape
        width = group if group > 0 else k
        order = torch.arange(k)
        if act_order:
            order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
        # Columns are quantized in `order`; stored codes keep the original order and g_idx says the group.
        scale, zero = int_params(weight[:, order], bits, group, sym)
        linear = torch.nn.Linear(k, n, bias=False)
        linear.weight.data = weight[:, order].float()
        q = module.QuantLinear(bits, width, k, n, False)
        q.device = "cpu"
        q.pack(linear, scale.float().clone(), zero.clone(), device="cpu")
        eye = torch.eye(k, dtype=torch.float16)
        value = q.forward(eye).t().contiguous()  # row i of the product is column i of the weight
        tensors = {"qweight": q.qweight, "qzeros": q.qzeros, "scales": q.scales}
        g_idx = (torch.arange(k) // width).to(torch.int32)
        if act_order:
            inverse = torch.argsort(order)
            codes = unpack_columns(q.qweight, bits, k)[inverse]
            tensors["qweight"] = pack_columns(codes, bits)
            g_idx, value = g_idx[inverse], value[:, inverse]
        tensors["g_idx"] = g_idx
        config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym,
                  "desc_act": act_order, "damp_percent": 0.01, "true_sequential": True}
        if version == 2:
            config["checkpoint_format"] = "gptq_v2"
        return tensors, config, value
    return make


def unpack_columns(qweight, bits, k):
    """[k, n] codes of [k * bits / 32, n] words: each column is one little-endian bit string."""
    words = qweight.to(torch.int64) & 0xFFFFFFFF
    codes = torch.zeros(k, qweight.shape[1], dtype=torch.int64)
    for i in range(k):
        for b in range(bits):
            bit = i * bits + b
            codes[i] |= ((words[bit // 32] >> (bit % 32)) & 1) << b
    return codes


def pack_columns(codes, bits):
    words = torch.zeros(codes.shape[0] * bits // 32, codes.shape[1], dtype=torch.int64)
    for i in range(codes.shape[0]):
        for b in range(bits):
            bit = i * bits + b
            words[bit // 32] |= ((codes[i].to(torch.int64) >> b) & 1) << (bit % 32)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def awq(group, sym=False):
    def make(weight, seed):
        from auto_round.export.export_to_awq.utils import WQLinear_GEMM, dequantize_gemm
        n, k = weight.shape
        scale, zero = int_params(weight, 4, group, sym)
        linear = torch.nn.Linear(k, n, bias=False)
        linear.weight.data = weight.float()
        q = WQLinear_GEMM.from_linear(linear, 4, group if group > 0 else k, scales=scale.float().t().contiguous(),
                                      zeros=zero.t().contiguous(), device="cpu")
        value = dequantize_gemm(q.qweight, q.qzeros, q.scales, 4, q.group_size).t()
        tensors = {"qweight": q.qweight, "qzeros": q.qzeros, "scales": q.scales}
        config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
                  "version": "gemm", "modules_to_not_convert": None}
        return tensors, config, value
    return make


def bnb_config(**fields):
    config = {"quant_method": "bitsandbytes", "_load_in_8bit": False, "_load_in_4bit": False,
              "load_in_8bit": False, "load_in_4bit": False, "llm_int8_threshold": 6.0,
              "llm_int8_skip_modules": None, "llm_int8_has_fp16_weight": False,
              "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "fp4",
              "bnb_4bit_use_double_quant": False}
    config.update(fields)
    return config


def bnb_int8(weight, seed):
    import bitsandbytes as bnb
    codes, absmax, _ = bnb.functional.int8_vectorwise_quant(weight.half())
    value = bnb.functional.int8_vectorwise_dequant(codes, absmax)
    tensors = {"weight": codes, "SCB": absmax, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors, bnb_config(_load_in_8bit=True, load_in_8bit=True), value


def bnb_4bit(kind, nested, dtype, blocksize=64):
    def make(weight, seed):
        import bitsandbytes as bnb
        codes, state = bnb.functional.quantize_4bit(weight.to(dtype), blocksize=blocksize,
                                                    compress_statistics=nested, quant_type=kind)
        if weight.shape[1] % blocksize == 0:
            value = bnb.functional.dequantize_4bit(codes, state)
        else:  # the CPU kernel (0.50) restarts blocks at each row, unlike its own quantize_4bit and CUDA
            from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
            absmax = state.absmax
            if nested:
                absmax = bnb.functional.dequantize_blockwise(state.absmax, state.state2) + state.offset
            value = _dequantize_4bit_compute(codes.reshape(-1), absmax, state.code, blocksize,
                                             weight.shape, dtype)
        tensors = {"weight": codes}
        tensors.update({f"weight.{key}": t for key, t in state.as_dict(packed=True).items()})
        config = bnb_config(_load_in_4bit=True, load_in_4bit=True, bnb_4bit_quant_type=kind,
                            bnb_4bit_use_double_quant=nested)
        return tensors, config, value
    return make


def fp4(form):
    def make(weight, seed):
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
        from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
        nv = form == "nvfp4-pack-quantized"
        args = {"num_bits": 4, "type": "float", "symmetric": True, "dynamic": False,
                "strategy": "tensor_group" if nv else "group", "group_size": 16 if nv else 32}
        args["scale_dtype"] = "torch.float8_e4m3fn" if nv else "torch.uint8"
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
        weight = weight.bfloat16()
        blocks = grouped(weight, args["group_size"])
        state = {"weight": weight}
        if nv:
            state["weight_global_scale"] = generate_gparam(weight.amin(), weight.amax()).reshape(1)
        state["weight_scale"], _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), scheme.weights,
                                                     global_scale=state.get("weight_global_scale"))
        compressor = BaseCompressor.load_from_registry(form)
        stored = compressor.compress(state, scheme)
        value = compressor.decompress(dict(stored), scheme)["weight"]
        config = {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
                  "quantization_status": "compressed", "kv_cache_scheme": None,
                  "config_groups": {"group_0": {"targets": ["Linear"], "weights": args,
                                                "input_activations": None,
                                                "output_activations": None}}}
        return stored, config, value
    return make


def autofp8(scheme):
    def make(weight, seed):
        scale = weight.float().abs().max() / 448
        codes = (weight.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
        tensors = {"weight": codes, "weight_scale": scale}
        if scheme == "static":
            tensors["input_scale"] = torch.tensor(0.25)
        config = {"quant_method": "fp8", "activation_scheme": scheme, "ignored_layers": ["lm_head"]}
        return tensors, config, codes.float() * scale
    return make


def omniserve_tiles(codes):
    """uint4 codes [n, k] in tiles of 32 x 32: rows split (2, 2, 8), columns (2, 4, 4), two rows in a byte."""
    n, k = codes.shape
    split = codes.to(torch.int32).reshape(n // 32, 2, 2, 8, k // 32, 2, 4, 4)
    # axes: row tile, a, b, c, column tile, d, e, f -> row tile, column tile, c, e, d, b, f, a
    order = split.permute(0, 4, 3, 6, 5, 2, 7, 1)
    return (order[..., 0] | order[..., 1] << 4).reshape(n, k // 2).to(torch.uint8).view(torch.int8)


def omniserve_columns(values):
    """[n, groups] of the second level as stored, [groups, n]: columns 0, 8, 16, 24, 1, 9, ... of every 32."""
    n, groups = values.shape
    stored = values.t().reshape(groups, n // 32, 4, 8).transpose(-2, -1).reshape(groups, n)
    return (stored % 256).to(torch.uint8).view(torch.int8)


def omniserve_groups(scaled_zeros=False):
    """QoQ's two levels: int8 per channel within 119, uint4 per group. Zeros in steps, or in int8 units."""
    def make(weight, _):
        weight = weight.float()
        group = 128 if weight.shape[1] % 128 == 0 else 32
        scale = (weight.abs().amax(1, keepdim=True) / 119).half()
        blocks = grouped(weight / scale.float(), group)
        low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
        step = torch.round((high - low) / 15).clamp(min=1)
        zero = torch.round(-low) if scaled_zeros else torch.round(-low / step).clamp(0, 15) * step
        codes = torch.round((blocks + zero[..., None]) / step[..., None]).clamp(0, 15)
        level1 = (codes * step[..., None] - zero[..., None]).clamp(-128, 127).flatten(1)
        tensors = {"qweight": omniserve_tiles(codes.flatten(1)), "s1_scales": scale[:, 0],
                   "s2_scales": omniserve_columns(step.int()), "s2_zeros": omniserve_columns(-zero.int())}
        return tensors, None, (level1 * scale.float()).half()
    return make


def omniserve_channels(weight, _):
    scale, zero = int_params(weight, 4, -1, sym=False)
    codes = torch.round(weight.float() / scale.float() + zero).clamp(0, 15)
    tensors = {"qweight": omniserve_tiles(codes), "s1_scales": scale[:, 0], "s1_szeros": (zero.half() * scale)[:, 0]}
    return tensors, None, ((codes - zero) * scale.float()).half()


def omniserve_int8(weight, _):
    scale = (weight.float().abs().amax(1, keepdim=True) / 127).half()
    codes = torch.round(weight.float() / scale.float()).clamp(-127, 127)
    tensors = {"weight": codes.to(torch.int8), "dequant_scale": scale[:, 0]}
    return tensors, None, (codes * scale.float()).half()


AR, BNB, CT, FORMULA = "auto-round", "bitsandbytes", "compressed-tensors", "formula"
MAKERS = {
    "gptq_4bit_sym": (AR, gptq(4, 32, True, 1)),
    "gptq_4bit_asym": (AR, gptq(4, 32, False, 1)),
    "gptq_8bit_sym": (AR, gptq(8, 32, True, 1)),
    "gptq_2bit_asym": (AR, gptq(2, 32, False, 1)),
    "gptq_3bit_sym": (AR, gptq(3, 32, True, 1)),
    "gptq_4bit_column": (AR, gptq(4, -1, False, 1)),
    "gptq_4bit_act_order": (AR, gptq(4, 32, True, 1, act_order=True)),
    "gptq_v2_4bit_sym": (AR, gptq(4, 32, True, 2)),
    "gptq_v2_4bit_asym": (AR, gptq(4, 32, False, 2)),
    "gptq_v2_3bit_asym": (AR, gptq(3, 32, False, 2)),
    "gptq_v2_8bit_asym_act_order": (AR, gptq(8, 32, False, 2, act_order=True)),
    "awq_gemm": (AR, awq(32)),
    "awq_gemm_sym": (AR, awq(32, sym=True)),
    "bnb_int8": (BNB, bnb_int8),
    "bnb_nf4": (BNB, bnb_4bit("nf4", False, torch.bfloat16)),
    "bnb_nf4_nested": (BNB, bnb_4bit("nf4", True, torch.bfloat16)),
    "bnb_nf4_float16": (BNB, bnb_4bit("nf4", False, torch.float16, 128)),
    "bnb_fp4": (BNB, bnb_4bit("fp4", False, torch.float32)),
    "bnb_fp4_nested": (BNB, bnb_4bit("fp4", True, torch.bfloat16)),
    "nvfp4": (CT, fp4("nvfp4-pack-quantized")),
    "mxfp4": (CT, fp4("mxfp4-pack-quantized")),
    "autofp8_static": (FORMULA, autofp8("static")),
    "autofp8_dynamic": (FORMULA, autofp8("dynamic")),
    "omniserve_groups": (FORMULA, omniserve_groups()),
    "omniserve_groups_scaled_zeros": (FORMULA, omniserve_groups(scaled_zeros=True)),
    "omniserve_channels": (FORMULA, omniserve_channels),
    "omniserve_int8": (FORMULA, omniserve_int8),
}


def make(name, weight, seed=0):
    """(tensors, quantization_config, values f32) of a [n, k] weight; n and k multiples of 32."""
    tensors, config, value = MAKERS[name][1](weight, seed)
    json.dumps(config)
    return {key: t.detach().contiguous() for key, t in tensors.items()}, config, value.float()


def write_golden(folder, name):
    torch.manual_seed(sum(map(ord, name)))
    weight = (torch.randn(32, 96) * 0.05).bfloat16()
    tensors, config, value = make(name, weight, seed=1)
    stored = {f"layer.{key}": tensor for key, tensor in tensors.items()}
    stored["expected.weight"] = value.contiguous()
    path = pathlib.Path(folder) / name
    path.mkdir(parents=True, exist_ok=True)
    save_file(stored, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({"quantization_config": config}, indent=1) + "\n")


if __name__ == "__main__":
    for form in sys.argv[2:] or MAKERS:
        write_golden(sys.argv[1], form)
        print(form)
