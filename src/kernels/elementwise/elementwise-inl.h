// SPDX-License-Identifier: Apache-2.0
// The element-wise operations, written once over sixteen lanes. V is an F32x16 (simd/f32x16_*.h).
#pragma once

#include <math.h>

#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/softmax_sums-inl.h"
#include "kernels/simd/math-inl.h"

namespace octavo {

// out[i] = fn(a[i]) over n elements.
template <class V, typename Fn>
inline void ForEach(const float* a, int64_t n, float* out, const Fn& fn) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) fn(V::Load(a + i)).Store(out + i);
  if (i < n) fn(V::LoadPartial(a + i, n - i)).StorePartial(out + i, n - i);
}

// out[i] = fn(a[i], b[i]) over n elements.
template <class V, typename Fn>
inline void ForEach(const float* a, const float* b, int64_t n, float* out, const Fn& fn) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) fn(V::Load(a + i), V::Load(b + i)).Store(out + i);
  if (i < n) {
    fn(V::LoadPartial(a + i, n - i), V::LoadPartial(b + i, n - i)).StorePartial(out + i, n - i);
  }
}

// The sum over x of sum' = fn(x, sum) in 64 lanes; fn(0, sum) is never asked for lanes beyond n
// unless `fn` maps a zero to no change.
template <class V, typename Fn>
inline float Sum(const float* x, int64_t n, const Fn& fn) {
  V sum[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int j = 0; j < 4; ++j) sum[j] = fn(V::Load(x + i + 16 * j), sum[j], int64_t{16});
  }
  for (int j = 0; i < n; i += 16, ++j) {
    const int64_t count = n - i < 16 ? n - i : 16;
    sum[j] = fn(V::LoadPartial(x + i, count), sum[j], count);
  }
  return ReduceAdd((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class V>
void RmsNorm(const float* x, const float* weight, int64_t n, float eps, float weight_offset,
             float* out) {
  const float squares = Sum<V>(x, n, [](V v, V sum, int64_t) { return Fma(v, v, sum); });
  const V inverse = V::Set1(1.0f / sqrtf(squares / static_cast<float>(n) + eps));
  const V offset = V::Set1(weight_offset);
  ForEach<V>(x, weight, n, out, [&](V v, V w) { return (v * inverse) * (w + offset); });
}

template <class V>
void LayerNorm(const float* x, const float* weight, const float* bias, int64_t n, float eps,
               float* out) {
  const float count = static_cast<float>(n);
  const float mean = Sum<V>(x, n, [](V v, V sum, int64_t) { return sum + v; }) / count;
  const V center = V::Set1(mean);
  float padding[16];  // the mean in every lane that exists, so that absent lanes add nothing
  center.Store(padding);
  const float squares = Sum<V>(x, n, [&](V v, V sum, int64_t lanes) {
    const V d = v - V::LoadPartial(padding, lanes);
    return Fma(d, d, sum);
  });
  const V inverse = V::Set1(1.0f / sqrtf(squares / count + eps));
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = n - i < 16 ? n - i : 16;
    V y = (V::LoadPartial(x + i, lanes) - center) * inverse;
    if (weight != nullptr) y = y * V::LoadPartial(weight + i, lanes);
    if (bias != nullptr) y = y + V::LoadPartial(bias + i, lanes);
    y.StorePartial(out + i, lanes);
  }
}

template <class V>
void Rope(float* x, int num_heads, int head_dim, int rotary_dim, const float* cos,
          const float* sin) {
  const int half = rotary_dim / 2;
  for (int head = 0; head < num_heads; ++head, x += head_dim) {
    for (int i = 0; i < half; i += 16) {
      const int lanes = half - i < 16 ? half - i : 16;
      const V a = V::LoadPartial(x + i, lanes), b = V::LoadPartial(x + half + i, lanes);
      const V c = V::LoadPartial(cos + i, lanes), s = V::LoadPartial(sin + i, lanes);
      (a * c - b * s).StorePartial(x + i, lanes);
      (b * c + a * s).StorePartial(x + half + i, lanes);
    }
  }
}

// Converts rows of 16-bit codes with `load` (sixteen codes to V) and multiplies by `scale`.
template <class V, typename Load>
inline void ScaleCodes(const uint16_t* x, float scale, int64_t n, float* out, const Load& load) {
  const V s = V::Set1(scale);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) (load(x + i) * s).Store(out + i);
  if (i == n) return;
  uint16_t tail[16] = {};
  for (int64_t j = i; j < n; ++j) tail[j - i] = x[j];
  (load(tail) * s).StorePartial(out + i, n - i);
}

template <class V>
constexpr ElementwiseOps MakeElementwiseOps() {
  using F = const float*;
  return {
      .rms_norm = RmsNorm<V>,
      .layer_norm = LayerNorm<V>,
      .silu_mul = [](F gate, F up, int64_t n, float* out) {
        ForEach<V>(gate, up, n, out, [](V g, V u) { return Silu(g) * u; });
      },
      .gelu_tanh_mul = [](F gate, F up, int64_t n, float* out) {
        ForEach<V>(gate, up, n, out, [](V g, V u) { return GeluTanh(g) * u; });
      },
      .gelu_erf_mul = [](F gate, F up, int64_t n, float* out) {
        ForEach<V>(gate, up, n, out, [](V g, V u) { return GeluErf(g) * u; });
      },
      .silu = [](F x, int64_t n, float* out) {
        ForEach<V>(x, n, out, [](V v) { return Silu(v); });
      },
      .gelu_tanh = [](F x, int64_t n, float* out) {
        ForEach<V>(x, n, out, [](V v) { return GeluTanh(v); });
      },
      .gelu_erf = [](F x, int64_t n, float* out) {
        ForEach<V>(x, n, out, [](V v) { return GeluErf(v); });
      },
      .relu = [](F x, int64_t n, float* out) {
        ForEach<V>(x, n, out, [](V v) { return Max(V::Zero(), v); });
      },
      .add = [](F a, F b, int64_t n, float* out) {
        ForEach<V>(a, b, n, out, [](V x, V y) { return x + y; });
      },
      .softcap = [](F x, float cap, int64_t n, float* out) {
        const V c = V::Set1(cap);
        ForEach<V>(x, n, out, [c](V v) { return c * Tanh(v / c); });
      },
      .scale_f32 = [](F x, float scale, int64_t n, float* out) {
        const V s = V::Set1(scale);
        ForEach<V>(x, n, out, [s](V v) { return v * s; });
      },
      .scale_bf16 = [](const uint16_t* x, float scale, int64_t n, float* out) {
        ScaleCodes<V>(x, scale, n, out, [](const uint16_t* p) { return V::LoadBf16(p); });
      },
      .scale_f16 = [](const uint16_t* x, float scale, int64_t n, float* out) {
        ScaleCodes<V>(x, scale, n, out, [](const uint16_t* p) { return V::LoadF16(p); });
      },
      .rope = Rope<V>,
      .dot = Dot<V>,
      .max = RowMax<V>,
      .sum_exp = SumExp<V>,
      .sum_exp_from = SumExpFrom<V>,
      .count_greater = CountGreater<V>,
      .kl_divergence = KlDivergenceOf<V>,
  };
}

}  // namespace octavo
