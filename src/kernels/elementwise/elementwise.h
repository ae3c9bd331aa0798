// SPDX-License-Identifier: Apache-2.0
// Element-wise operations on one row: norms, activation functions, rope, conversions.
//
// A row at a time, so that the caller can fuse: norm a row into an L1 scratch, encode it for the next
// linear, go on with the next row. Rows are f32 of any length n >= 1, need no alignment and are not
// read or written beyond n. `out` may be the same pointer as an input, but must not overlap otherwise.
//
// Numerics: all ISA levels give the same bits, also kReference: the functions are one source over
// sixteen lanes, sums run over 64 lanes (lane l adds the elements with index l mod 64 in ascending
// order) that are folded 64 -> 16 -> 8 -> 4 -> 2 -> 1. Maximum errors are in docs/numerics.md.
#pragma once

#include <cstdint>

#include "base/cpu_features.h"

namespace octavo {

// The functions of one ISA level.
struct ElementwiseOps {
  // out = x / sqrt(mean(x^2) + eps) * (weight + weight_offset). weight_offset is 1 for Gemma, else 0.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float weight_offset,
                   float* out);

  // out = (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias. A null weight means ones, a
  // null bias zeros.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float eps,
                     float* out);

  // out = f(gate) * up.
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*gelu_tanh_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*gelu_erf_mul)(const float* gate, const float* up, int64_t n, float* out);

  // out = f(x).
  void (*silu)(const float* x, int64_t n, float* out);
  void (*gelu_tanh)(const float* x, int64_t n, float* out);
  void (*gelu_erf)(const float* x, int64_t n, float* out);
  void (*relu)(const float* x, int64_t n, float* out);

  // out = a + b.
  void (*add)(const float* a, const float* b, int64_t n, float* out);

  // out = cap * tanh(x / cap); cap > 0.
  void (*softcap)(const float* x, float cap, int64_t n, float* out);

  // out = x * scale, from f32, bf16 or f16 bits. With scale 1 the conversion is exact: this is the
  // embedding gather (Gemma scales its embeddings).
  void (*scale_f32)(const float* x, float scale, int64_t n, float* out);
  void (*scale_bf16)(const uint16_t* x, float scale, int64_t n, float* out);
  void (*scale_f16)(const uint16_t* x, float scale, int64_t n, float* out);

  // Rotates the first rotary_dim values of each of `num_heads` consecutive heads of x in place, pairs
  // (i, i + rotary_dim / 2) by the angle whose cosine and sine are cos[i], sin[i]. The products are
  // rounded before the addition, as the usual implementations do.
  void (*rope)(float* x, int num_heads, int head_dim, int rotary_dim, const float* cos,
               const float* sin);

  // Sum of x * y: f32 products in f32 lanes, emptied into a double every 4096 elements.
  double (*dot)(const float* x, const float* y, int64_t n);

  // The largest x; NaN counts as smaller than everything, -infinity where nothing else is left.
  float (*max)(const float* x, int64_t n);

  // Sum of e^(x - largest) for x <= largest, finite. NaN in gives NaN out; e^-87 and less count as e^-87.
  // Relative error <= 2e-6.
  double (*sum_exp)(const float* x, float largest, int64_t n);

  // Sum of e^(x - largest) over x >= cut: the weight of what a sampler keeps. Unlike sum_exp it counts NaN and
  // what is below e^-87 as 0.
  double (*sum_exp_from)(const float* x, float largest, float cut, int64_t n);

  // How many x are greater than `bound`; NaN is not.
  int64_t (*count_greater)(const float* x, float bound, int64_t n);

  // KL(P || Q) in nats, P = e^(p - log_sum_p) and Q = e^(q - log_sum_q), where the sums make each a
  // distribution. Every element adds P log(P / Q) - P + Q >= 0: the last two terms cancel over the row, and with
  // them nothing cancels between elements, so divergences near 0 keep their relative precision. Infinite when Q
  // forbids what P allows with more than e^-87; NaN in gives NaN out.
  double (*kl_divergence)(const float* p, double log_sum_p, const float* q, double log_sum_q, int64_t n);
};

// The functions of the highest level that is at most `isa`.
const ElementwiseOps& ElementwiseOpsFor(IsaLevel isa);

// Those of ActiveIsa(), or of the reference level when that is an error.
const ElementwiseOps& ActiveElementwiseOps();

}  // namespace octavo
