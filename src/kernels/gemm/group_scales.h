// SPDX-License-Identifier: Apache-2.0
// Group scales (and mins) of a panel, kept in the narrowest type that holds them exactly: in 4-bit
// groups of 32 an f32 scale and min would be a third of the bytes that decode reads.
//
// A section of a panel is [groups][channels] of f32, f16 or bf16; for kF16TimesI8
// [groups][channels] i8, then [super groups][channels] f16. Include after simd_avx2.h or simd_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/gemm.h"

namespace octavo {
namespace {

// Where the scales of one section are and how to read them. `kChannels` per panel.
template <int64_t kChannels>
class GroupScales {
 public:
  // A format without group scales has one f32 row.
  explicit GroupScales(const WeightSpec& w)
      : type_(w.scales == ScaleLayout::kGroup ? w.scale_type : ScaleType::kF32),
        groups_(w.scales == ScaleLayout::kGroup ? DivUp(w.k, w.group_size) : 1),
        per_super_(type_ == ScaleType::kF16TimesI8 ? w.super_group : 1),
        supers_(RoundUp(groups_ * kChannels, 64)) {}

  // Bytes of a section; a multiple of 64.
  int64_t bytes() const {
    switch (type_) {
      case ScaleType::kF32:
        return groups_ * kChannels * 4;
      case ScaleType::kF16:
      case ScaleType::kBf16:
        return RoundUp(groups_ * kChannels * 2, 64);
      case ScaleType::kF16TimesI8:
        break;
    }
    return supers_ + RoundUp(DivUp(groups_, per_super_) * kChannels * 2, 64);
  }

  // Writes a section from `values`, [channels][groups], and for kF16TimesI8 their super scales,
  // [channels][super groups]. Empty values mean ones.
  void Pack(const std::vector<float>& values, const std::vector<float>& supers,
            std::byte* section) const {
    if (type_ == ScaleType::kF32) {
      PackScales(values.data(), values.size(), groups_, kChannels,
                 reinterpret_cast<float*>(section));
      return;
    }
    __builtin_memset(section, 0, static_cast<size_t>(bytes()));
    const int64_t count = DivUp(groups_, per_super_);
    for (int64_t c = 0; c < kChannels; ++c) {
      for (int64_t g = 0; g < groups_; ++g) {
        PackOne(values.data()[c * groups_ + g],
                type_ == ScaleType::kF16TimesI8 ? supers.data()[c * count + g / per_super_] : 0.0f,
                g, c, section);
      }
    }
  }

  // Scales of group `g` for kLanes channels from `channel` on.
  [[gnu::always_inline]] Floats Load(const std::byte* section, int64_t g, int64_t channel) const {
    const int64_t at = g * kChannels + channel;
    switch (type_) {
      case ScaleType::kF32:
        return LoadFloats(section + at * 4);
      case ScaleType::kF16:
        return LoadHalves(section + at * 2);
      case ScaleType::kBf16:
        return LoadBf16s(section + at * 2);
      case ScaleType::kF16TimesI8:
        break;
    }
    const std::byte* super = section + supers_ + (g / per_super_ * kChannels + channel) * 2;
    return LoadHalves(super) * LoadInt8s(section + at);
  }

  // The section as f32, [groups][channels]: itself, or written to `scratch`.
  const float* Expand(const std::byte* section, float* scratch) const {
    if (type_ == ScaleType::kF32) return reinterpret_cast<const float*>(section);
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t c = 0; c < kChannels; c += kLanes) {
        const Floats scales = Load(section, g, c);
        __builtin_memcpy(scratch + g * kChannels + c, &scales, sizeof scales);
      }
    }
    return scratch;
  }

 private:
  static uint16_t ExactHalf(float value) {
    return static_cast<uint16_t>(
        _mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT)));
  }

  void PackOne(float value, float super, int64_t g, int64_t c, std::byte* section) const {
    const int64_t at = g * kChannels + c;
    if (type_ == ScaleType::kF16TimesI8) {
      const float sub = super == 0.0f ? 0.0f : __builtin_nearbyintf(value / super);
      section[at] = static_cast<std::byte>(static_cast<int8_t>(sub));
      const uint16_t half = ExactHalf(super);
      __builtin_memcpy(section + supers_ + (g / per_super_ * kChannels + c) * 2, &half, 2);
      return;
    }
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint16_t half =
        type_ == ScaleType::kF16 ? ExactHalf(value) : static_cast<uint16_t>(bits >> 16);
    __builtin_memcpy(section + at * 2, &half, 2);
  }

  ScaleType type_;
  int64_t groups_;
  int64_t per_super_;
  int64_t supers_;  // offset of the super scales in a section
};

}  // namespace
}  // namespace octavo
