// SPDX-License-Identifier: Apache-2.0
// What a weight matrix means numerically, whatever file it came from, and how its rows travel from a
// scheme (which decodes the file) to a kernel (which packs them into its own layout).
//
// A linear layer computes y[m][n] = sum_k x[m][k] * w[n][k]; w is [n, k], row-major, as in PyTorch.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace octavo {

// How one stored element becomes a number before scales are applied.
enum class CodeType : uint8_t {
  kF32,   // codes are float
  kF16,   // codes are IEEE half bits (uint16_t)
  kBf16,  // codes are bfloat16 bits (uint16_t)
  kE4M3,  // one byte, float8_e4m3fn
  kE5M2,  // one byte, float8_e5m2
  kInt,   // one byte: int8_t q when there are no mins, uint8_t u when there are
};

enum class ScaleLayout : uint8_t {
  kNone,      // w = code
  kChannel,   // w = code * scale[n]                       (per tensor: all scales equal)
  kGroup,     // w = code * scale[n][k / group_size] (+ min[n][k / group_size] when has_min)
  kTwoLevel,  // w = (u - zero2[n][g]) * scale2[n][g] * scale[n], all but scale[n] integers (QoQ)
};

// The narrowest type that holds every group scale (and min) exactly; kernels may store them so.
enum class ScaleType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kF16TimesI8,  // an f16 super scale, shared by super_group groups, times an integer in [-128, 127]
};

struct WeightSpec {
  CodeType code = CodeType::kBf16;
  int bits = 16;  // storage width of one code; 4 means codes fit a nibble
  ScaleLayout scales = ScaleLayout::kNone;
  int group_size = 0;    // elements along k; the last group may be shorter; 0 unless kGroup, kTwoLevel
  bool has_min = false;  // asymmetric (kGroup only): codes are unsigned and a min is added
  int64_t n = 0;
  int64_t k = 0;
  ScaleType scale_type = ScaleType::kF32;  // kGroup only
  int super_group = 0;                     // groups per super scale, kF16TimesI8 only

  // Scales (and mins) per row.
  int64_t groups() const {
    if (scales == ScaleLayout::kNone) return 0;
    return group_size == 0 ? 1 : (k + group_size - 1) / group_size;
  }
  int code_bytes() const {
    if (code == CodeType::kF32) return 4;
    return code == CodeType::kF16 || code == CodeType::kBf16 ? 2 : 1;
  }
  bool SameFormat(const WeightSpec& o) const {
    return code == o.code && bits == o.bits && scales == o.scales && group_size == o.group_size &&
           has_min == o.has_min && k == o.k && scale_type == o.scale_type && super_group == o.super_group;
  }
  // Super scales (and super mins) per row.
  int64_t supers() const {
    return scale_type == ScaleType::kF16TimesI8 ? (groups() + super_group - 1) / super_group : 0;
  }
};

// `count` decoded rows, each code in its own element of code_bytes(). Reused between calls.
struct WeightRows {
  int64_t count = 0;
  std::vector<uint8_t> codes;    // [count][k] elements
  std::vector<float> scales;     // [count][groups()]; kTwoLevel: [count] (level 1)
  std::vector<float> mins;       // [count][groups()] when has_min: w = code * scale + min
  std::vector<float> super_scales;  // [count][supers()]: every scale is an integer times its super scale
  std::vector<float> super_mins;    // [count][supers()] when has_min
  std::vector<uint8_t> scales2;  // [count][groups()], kTwoLevel only
  std::vector<uint8_t> zeros2;   // [count][groups()], kTwoLevel only

  // Sizes every array for `rows` rows of `spec`. New elements are zero.
  void Resize(const WeightSpec& spec, int64_t rows) {
    count = rows;
    const auto size = [rows](int64_t per_row) { return static_cast<size_t>(rows * per_row); };
    const bool two_level = spec.scales == ScaleLayout::kTwoLevel;
    codes.resize(size(spec.k * spec.code_bytes()));
    scales.resize(size(two_level ? 1 : spec.groups()));
    mins.resize(size(spec.has_min ? spec.groups() : 0));
    super_scales.resize(size(spec.supers()));
    super_mins.resize(size(spec.has_min ? spec.supers() : 0));
    scales2.resize(size(two_level ? spec.groups() : 0));
    zeros2.resize(size(two_level ? spec.groups() : 0));
  }

  // Clears the rows from `first` on to codes and scales of zero (padding of the last panel).
  void ZeroFrom(const WeightSpec& spec, int64_t first) {
    const auto clear = [&](auto& v, int64_t per_row) {
      using T = typename std::remove_reference_t<decltype(v)>::value_type;
      if (!v.empty()) std::memset(&v[0] + first * per_row, 0, v.size() * sizeof(T) - first * per_row * sizeof(T));
    };
    if (first >= count) return;
    const bool two_level = spec.scales == ScaleLayout::kTwoLevel;
    clear(codes, spec.k * spec.code_bytes());
    clear(scales, two_level ? 1 : spec.groups());
    clear(mins, spec.groups());
    clear(super_scales, spec.supers());
    clear(super_mins, spec.supers());
    clear(scales2, spec.groups());
    clear(zeros2, spec.groups());
  }
};

}  // namespace octavo
