// SPDX-License-Identifier: Apache-2.0
// Matrix products of activations and packed weights: the contract every GEMM kernel fulfils.
//
//   y[m][n] = epilogue( sum_k x[m][k] * w[n][k] )
//
// Numerics, the same for every kernel that accepts a (weight, activation) pair, so that batch size,
// tile shape and thread count never change a bit (docs/numerics.md):
//   kF32  x any weight without level-2 scales: one f32 FMA chain per output in ascending k.
//   kBf16, kFp8 x {bf16, fp8, int codes}: codes are exact in bf16; pairs (k even, k odd) accumulate as
//     fma(x_even, w_even, fma(x_odd, w_odd, acc)) in f32: what vdpbf16ps does. These pairs run with
//     denormals flushed, inputs and outputs, in every operation including the epilogue. K is padded
//     with zeros to a multiple of 8.
//   Group scales (and mins, and kFp8Group128, whose groups have 128 columns): the chain restarts at 0
//     per group and acc = fma(partial, scale, acc); a min then adds acc = fma(group_sum, min, acc).
//     kFp8Group128: scale = token_group_scale * weight_scale (1 if the weight has no group scales).
//   kInt8 x int codes: exact int32 sums. kTwoLevel: int32 throughout. kGroup with float scales:
//     acc = fma(float(dot_g), scale_g, acc) per group, mins as above with float(group_sum).
//   kInt8Group32 x int codes with group scales over 16 or 32 columns: exact int32 sums per group, then
//     acc = fma(float(dot_g), token_group_scale * scale_g, acc); a min then adds
//     acc = fma(float(group_sum) * token_group_scale, min, acc).
//   kInt8 with outliers: the int8 sum is over the other values; then out += sum of outlier * weight
//     (outlier_product.h).
//   Epilogue, in this order: acc * token_scale * channel_scale, + bias, + residual; factors and terms
//     that the formats lack are skipped.
// The AMX level sums bf16 pairs in the order of TDPBF16PS instead (docs/numerics.md); integer results
// are equal on all levels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "kernels/activation.h"
#include "kernels/weight_spec.h"

namespace octavo {

// Where results go. out[m][n] for the n of the weight, row-major.
struct GemmOutput {
  float* out = nullptr;       // [rows, n]
  int64_t row_stride = 0;     // elements
  const float* bias = nullptr;  // [n] or null
  bool accumulate = false;    // out += result (residual add) instead of out = result
};

// One product over the panels [panel_begin, panel_end) of a packed weight.
struct GemmCall {
  ActivationView x;
  const WeightSpec* weight = nullptr;
  const std::byte* packed = nullptr;  // first panel of the whole weight
  GemmOutput y;
};

// A kernel: a weight layout and the code that multiplies with it. Immutable, one per file
// src/kernels/gemm/gemm_<scheme>_<isa>.cc, exported as kGemm_<stem of the file>.
struct GemmKernel {
  const char* name;  // the file's stem, e.g. "gemm_w8a8_avx512_vnni"
  IsaLevel isa;

  // Whether the kernel multiplies this weight (any n; k as given) with activations of this format.
  bool (*accepts)(const WeightSpec& weight, ActivationFormat format);

  // Channels per panel: the unit of packing and of splitting work between threads.
  int panel_channels;

  // Bytes of one packed panel; a multiple of 64.
  size_t (*panel_bytes)(const WeightSpec& weight);

  // Packs exactly panel_channels rows (rows beyond n come as zeros) into `panel`.
  void (*pack)(const WeightSpec& weight, const WeightRows& rows, std::byte* panel);

  // Multiplies. Any number of rows, including 0. Channels beyond n are not written.
  void (*run)(const GemmCall& call, int64_t panel_begin, int64_t panel_end);

  // Whether `run` also takes activations in tile order (and likes them).
  bool reads_tiles = false;

  // Values code * scale (rounded once) of `count` columns of a packed panel, [count][panel_channels]:
  // what outliers are multiplied with (outlier_product.h). Null in kernels that never take signed
  // integers with a scale per channel.
  void (*columns)(const WeightSpec& weight, const std::byte* panel, const uint16_t* columns, int64_t count,
                  float* out) = nullptr;
};

// All kernels of this build, in no particular order.
std::span<const GemmKernel* const> AllGemmKernels();

// Whether the numerics above define this pair.
bool IsLegalPair(const WeightSpec& weight, ActivationFormat format);

// The kernel for the pair at the highest level <= `isa`; the generic reference accepts every legal
// pair, so the result is null only for pairs the numerics above do not define.
const GemmKernel* FindGemmKernel(const WeightSpec& weight, ActivationFormat format, IsaLevel isa);

}  // namespace octavo
