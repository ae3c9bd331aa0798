// SPDX-License-Identifier: Apache-2.0
// Group scales (and mins) of a panel, kept in the narrowest type that holds them exactly: in 4-bit
// groups of 32 an f32 scale and min would be a third of the bytes that decode reads.
//
// A section of a panel is [groups][channels] of f32, f16 or bf16; for kF16TimesI8
// [groups][channels] i8, then [super groups][channels] f16. Include after simd_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/simd_avx512.h"

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

  // Scales of group `g` for channels [channel, channel + 16).
  [[gnu::always_inline]] __m512 Load(const std::byte* section, int64_t g, int64_t channel) const {
    const int64_t at = g * kChannels + channel;
    switch (type_) {
      case ScaleType::kF32:
        return _mm512_loadu_ps(reinterpret_cast<const float*>(section) + at);
      case ScaleType::kF16:
        return LoadHalves(section + at * 2);
      case ScaleType::kBf16: {
        const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(section + at * 2));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
      }
      case ScaleType::kF16TimesI8:
        break;
    }
    const __m128i sub = _mm_loadu_si128(reinterpret_cast<const __m128i*>(section + at));
    const __m512 super = LoadHalves(section + supers_ + (g / per_super_ * kChannels + channel) * 2);
    return _mm512_mul_ps(super, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sub)));
  }

 private:
  [[gnu::always_inline]] static __m512 LoadHalves(const std::byte* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }

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
