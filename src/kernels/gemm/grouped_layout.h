// SPDX-License-Identifier: Apache-2.0
// Where things are in a panel of codes with group scales, for kernels that take int8 activations.
//
//   float scales: [scales g][channels], [mins g][channels] when there are (group_scales.h), codes
//   two-level:  [scale][channels] f32, [scale2 g][channels] u8,
//               [zero2 * scale2: pairs of g][channels][2] s16, codes
// Codes come in blocks of kBlockK columns x all channels, 4 bytes per channel. Include after simd_avx2.h or
// simd_avx512.h.
#pragma once

#include "kernels/gemm/group_scales.h"

namespace octavo {
namespace {

template <int64_t kChannels, int64_t kBlockK>
struct GroupedLayout {
  static constexpr int64_t kBlockBytes = kChannels * 4;

  bool two_level;
  int64_t groups;
  int64_t group_blocks;  // of a full group
  int64_t total_blocks;
  GroupScales<kChannels> scales;
  int64_t scales2 = 0, zeros2 = 0, mins = 0, codes;

  explicit GroupedLayout(const WeightSpec& w) : two_level(w.scales == ScaleLayout::kTwoLevel), scales(w) {
    groups = w.group_size > 0 ? DivUp(w.k, w.group_size) : 1;
    total_blocks = DivUp(RoundUp(w.k, 8), kBlockK);
    group_blocks = groups == 1 ? total_blocks : w.group_size / kBlockK;
    if (two_level) {
      scales2 = kChannels * 4;
      zeros2 = RoundUp(scales2 + groups * kChannels, 64);
      codes = zeros2 + DivUp(groups, 2) * kChannels * 4;
    } else {
      mins = scales.bytes();
      codes = mins * (w.has_min ? 2 : 1);
    }
  }

  size_t PanelBytes() const { return static_cast<size_t>(RoundUp(codes + total_blocks * kBlockBytes, 64)); }

  void PackScales(const WeightSpec& w, const WeightRows& rows, std::byte* panel) const {
    if (!two_level) {
      scales.Pack(rows.scales, rows.super_scales, panel);
      if (w.has_min) scales.Pack(rows.mins, rows.super_mins, panel + mins);
      return;
    }
    auto* floats = reinterpret_cast<float*>(panel);
    auto* packed_scales = reinterpret_cast<uint8_t*>(panel + scales2);
    auto* packed_zeros = reinterpret_cast<int16_t*>(panel + zeros2);
    for (int64_t c = 0; c < kChannels; ++c) {
      floats[c] = rows.scales.data()[c];
      for (int64_t g = 0; g < RoundUp(groups, 2); ++g) {
        int product = 0;
        if (g < groups) {
          const uint8_t scale = rows.scales2.data()[c * groups + g];
          packed_scales[g * kChannels + c] = scale;
          product = scale * rows.zeros2.data()[c * groups + g];
        }
        packed_zeros[(g / 2 * kChannels + c) * 2 + g % 2] = static_cast<int16_t>(product);
      }
    }
  }
};

// What such kernels multiply: groups of whole blocks; sums and zero2 * scale2 of two levels fit int16.
inline bool AcceptsGroupedInt8(const WeightSpec& w, ActivationFormat format) {
  if (!IsInt8(format) || !IsLegalPair(w, format) || w.group_size == 0) return false;
  if (w.group_size % 8 != 0 && w.group_size < w.k) return false;
  if (w.scales != ScaleLayout::kTwoLevel) return w.k <= 65792;
  return w.bits <= 4 && w.group_size <= 256;
}

// Two int16 group sums for a product with pairs of zeros: group `g` and the next, 0 beyond the last.
inline int32_t SumPair(const int32_t* sums, int64_t g, int64_t groups) {
  const int32_t second = g + 1 < groups ? sums[g + 1] : 0;
  return (sums[g] & 0xffff) | (second << 16);
}

}  // namespace
}  // namespace octavo
