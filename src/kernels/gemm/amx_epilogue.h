// SPDX-License-Identifier: Apache-2.0
// From the sums that AMX tiles leave in memory to results: group scales, then the epilogue of gemm.h.
//
// Include after simd_avx512.h in a file compiled for AMX.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/amx_tiles.h"
#include "kernels/gemm/group_scales.h"
#include "kernels/gemm/simd_avx512.h"

namespace octavo {
namespace {

template <bool kValue>
struct Bool {
  static constexpr bool value = kValue;
};

// Where the parts of a panel lie and how K is cut.
struct AmxLayout {
  int64_t tile_k;       // columns per k step
  int64_t steps;        // k steps in all
  GroupScales<kAmxChannels> scales;
  int64_t header = 64;
  int64_t mins = 0, codes = 0;

  AmxLayout(const WeightSpec& w, int64_t full_tile_k) : scales(w) {
    tile_k = full_tile_k;
    if (w.group_size > 0 && w.group_size < w.k) {
      while (w.group_size % tile_k != 0) tile_k /= 2;  // AmxAccepts: ends at 16
    }
    steps = DivUp(w.k, tile_k);
    mins = header + scales.bytes();
    codes = mins + (w.has_min ? scales.bytes() : 0);
  }
};

// Whether groups can be cut at k steps and fit a chunk.
inline bool AmxAccepts(const WeightSpec& w) {
  return w.group_size == 0 || w.group_size >= w.k || (w.group_size % 16 == 0 && w.group_size <= 384);
}

// Everything about one call that does not depend on how codes become tiles.
template <typename Dot>
struct AmxCall {
  const GemmCall& call;
  AmxLayout layout;
  bool token_groups;  // activations have a scale per group of 128 or 32 columns
  bool weight_groups;
  int64_t group_steps;  // k steps per group; all without groups
  int64_t groups;
  int64_t groups_per_token_scale;
  bool stream;          // write results past the caches

  explicit AmxCall(const GemmCall& c)
      : call(c),
        layout(*c.weight, Dot::kTileK),
        token_groups(ScaleGroup(c.x.spec.format) > 0),
        weight_groups(c.weight->scales == ScaleLayout::kGroup) {
    const int64_t token_group = token_groups ? ScaleGroup(c.x.spec.format) : c.weight->k;
    const int64_t size = weight_groups ? c.weight->group_size : token_group;
    groups_per_token_scale = token_groups && size < token_group ? token_group / size : 1;
    group_steps = size >= c.weight->k ? layout.steps : size / layout.tile_k;
    groups = DivUp(layout.steps, group_steps);
    // Large outputs leave L2 before anyone reads them, and each row of a block is in another page:
    // waiting to own those lines would take longer than the products.
    stream = c.x.rows >= 64 && !c.y.accumulate && c.y.row_stride % 16 == 0 &&
             reinterpret_cast<uintptr_t>(c.y.out) % 64 == 0;
  }
  // Several groups: each has its own partial sums. A single one is a plain chain, scaled at the end.
  bool grouped() const { return groups > 1; }
  bool scales_groups() const { return token_groups || weight_groups; }

  // Where a row of activations starts, and how a tile steps through it (TileProduct).
  const std::byte* RowTile(int64_t row) const {
    const int64_t row_bytes = call.x.row_stride * Dot::kElementBytes;
    return static_cast<const std::byte*>(call.x.data) + row * row_bytes;
  }
  int64_t row_tile_stride() const {
    return call.x.tiled ? ActivationView::kTileChunk : call.x.row_stride * Dot::kElementBytes;
  }
  int64_t chunk_mask() const { return call.x.tiled ? -ActivationView::kTileChunk : 0; }
};

// 32 channels of rows whose sums wait in memory, and what the epilogue needs for them.
template <typename Dot>
class AmxEpilogue {
 public:
  AmxEpilogue() = default;  // nothing to do

  // Rows [row, row + rows) of the call against the panel of channels n, n + 1, ...; `sums` is
  // [rows][32], int32 or f32.
  AmxEpilogue(const AmxCall<Dot>& ctx, const std::byte* panel, int64_t row, int64_t rows, int64_t n,
              const std::byte* sums)
      : ctx_(&ctx), row_(row), rows_(rows), n_(n), sums_(sums) {
    const auto* scales = reinterpret_cast<const float*>(panel + ctx.layout.header);
    for (int v = 0; v < 2; ++v) {
      const int64_t left = ctx.call.weight->n - n - v * 16;
      mask_[v] = LaneMask(left > 0 ? left : 0);
      scale_[v] = ctx.weight_groups ? _mm512_set1_ps(1.0f) : _mm512_load_ps(scales + v * 16);
      bias_[v] = ctx.call.y.bias == nullptr ? _mm512_setzero_ps()
                                            : _mm512_maskz_loadu_ps(mask_[v], ctx.call.y.bias + n + v * 16);
    }
  }

  // Stores up to `count` rows more.
  void Advance(int64_t count) {
    if (finished()) return;
    const int64_t end = done_ + count < rows_ ? done_ + count : rows_;
    if (ctx_->call.y.bias != nullptr) {
      ctx_->call.y.accumulate ? Store<true, true>(end) : Store<true, false>(end);
    } else {
      ctx_->call.y.accumulate ? Store<false, true>(end) : Store<false, false>(end);
    }
    done_ = end;
  }
  void Finish() { Advance(rows_); }
  bool finished() const { return done_ == rows_; }

  // total[m] += scale * partial[m] for group `g` (and the min), in the order of gemm.h. The first group
  // starts from zero instead of reading totals.
  static void AddGroup(const AmxCall<Dot>& ctx, const std::byte* panel, int64_t g, int64_t row,
                       int64_t rows, const std::byte* partial, std::byte* total) {
    const auto add = [&](auto first) {
      constexpr bool kFirst = decltype(first)::value;
      const auto add_min = [&](auto min) {
        constexpr bool kMin = decltype(min)::value;
        ctx.token_groups ? AddGroupRows<kFirst, kMin, true>(ctx, panel, g, row, rows, partial, total)
                         : AddGroupRows<kFirst, kMin, false>(ctx, panel, g, row, rows, partial, total);
      };
      ctx.call.weight->has_min ? add_min(Bool<true>{}) : add_min(Bool<false>{});
    };
    g == 0 ? add(Bool<true>{}) : add(Bool<false>{});
  }

 private:
  template <bool kFirst, bool kMin, bool kTokenGroups>
  static void AddGroupRows(const AmxCall<Dot>& ctx, const std::byte* panel, int64_t g, int64_t row,
                           int64_t rows, const std::byte* partial, std::byte* total) {
    const ActivationView& x = ctx.call.x;
    const GroupScales<kAmxChannels>& scales = ctx.layout.scales;
    const float* row_scales =
        kTokenGroups ? x.scales + row * x.scales_per_row() + g / ctx.groups_per_token_scale : nullptr;
    const int64_t scale_stride = kTokenGroups ? x.scales_per_row() : 0;
    const int64_t sum_stride = kMin ? x.sum_groups() : 0;
    __m512 scale[2], min[2];
    for (int v = 0; v < 2; ++v) {
      scale[v] = ctx.weight_groups ? scales.Load(panel + ctx.layout.header, g, v * 16) : _mm512_set1_ps(1.0f);
      min[v] = kMin ? scales.Load(panel + ctx.layout.mins, g, v * 16) : _mm512_setzero_ps();
    }
    for (int64_t m = 0; m < rows; ++m) {
      auto* out = reinterpret_cast<float*>(total + m * kAmxRowBytes);
      __m512 sum = _mm512_setzero_ps();
      if constexpr (kMin) {
        const int64_t at = (row + m) * sum_stride + g;
        const bool floats = kTokenGroups || !Dot::kInteger;
        sum = _mm512_set1_ps(floats ? x.group_sums_f32[at] : static_cast<float>(x.group_sums[at]));
      }
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = partial + m * kAmxRowBytes + v * 64;
        const __m512 value =
            Dot::kInteger ? _mm512_cvtepi32_ps(_mm512_load_si512(at)) : _mm512_load_ps(at);
        __m512 factor = scale[v];
        if (kTokenGroups) factor = _mm512_mul_ps(_mm512_set1_ps(row_scales[m * scale_stride]), factor);
        __m512 acc = kFirst ? _mm512_setzero_ps() : _mm512_load_ps(out + v * 16);
        acc = _mm512_fmadd_ps(value, factor, acc);
        if (kMin) acc = _mm512_fmadd_ps(sum, min[v], acc);
        _mm512_store_ps(out + v * 16, acc);
      }
    }
  }

  template <bool kBias, bool kAccumulate>
  void Store(int64_t end) const {
    const GemmCall& call = ctx_->call;
    const float* tokens = ctx_->token_groups ? nullptr : call.x.scales;
    const bool convert = Dot::kInteger && !ctx_->scales_groups();
    for (int64_t m = done_; m < end; ++m) {
      // Factors the formats lack are 1: exact.
      const __m512 token = _mm512_set1_ps(tokens != nullptr ? tokens[row_ + m] : 1.0f);
      float* out = call.y.out + (row_ + m) * call.y.row_stride + n_;
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const std::byte* at = sums_ + m * kAmxRowBytes + v * 64;
        __m512 value = convert ? _mm512_cvtepi32_ps(_mm512_load_si512(at)) : _mm512_load_ps(at);
        value = _mm512_mul_ps(_mm512_mul_ps(value, token), scale_[v]);
        if (kBias) value = _mm512_add_ps(value, bias_[v]);
        const __mmask16 mask = mask_[v];
        if (kAccumulate) value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out + v * 16), value);
        if (!kAccumulate && ctx_->stream && mask == 0xffff) {
          _mm512_stream_ps(out + v * 16, value);
        } else {
          _mm512_mask_storeu_ps(out + v * 16, mask, value);
        }
      }
    }
  }

  const AmxCall<Dot>* ctx_ = nullptr;
  int64_t row_ = 0, rows_ = 0, n_ = 0;
  int64_t done_ = 0;
  const std::byte* sums_ = nullptr;
  __mmask16 mask_[2];
  __m512 scale_[2], bias_[2];
};

}  // namespace
}  // namespace octavo
