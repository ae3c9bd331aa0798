// SPDX-License-Identifier: Apache-2.0
// Random weights and activations for the GEMM tests and benchmarks.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/float16.h"
#include "kernels/activation.h"
#include "kernels/gemm/gemm.h"

namespace octavo::testing {

inline std::string Describe(const WeightSpec& w, ActivationFormat format) {
  static constexpr const char* kCodes[] = {"f32", "f16", "bf16", "e4m3", "e5m2", "int"};
  static constexpr const char* kScales[] = {"none", "channel", "group", "two_level"};
  static constexpr const char* kFormats[] = {"f32", "bf16", "int8", "fp8", "fp8_group128", "int8_group32"};
  return std::string(kCodes[static_cast<int>(w.code)]) + "/" + std::to_string(w.bits) + " " +
         kScales[static_cast<int>(w.scales)] + " group " + std::to_string(w.group_size) +
         (w.has_min ? " min" : "") + " scale type " + std::to_string(static_cast<int>(w.scale_type)) + " n " + std::to_string(w.n) + " k " + std::to_string(w.k) + " x " +
         kFormats[static_cast<int>(format)];
}

// Rounds scales (or mins) to what spec.scale_type holds.
inline void MakeExact(const WeightSpec& spec, std::mt19937& rng, std::vector<float>& values,
                      std::vector<float>& supers) {
  for (float& v : supers) v = F16ToF32(F32ToF16(0.0001f + 0.0001f * static_cast<float>(rng() % 8)));
  for (size_t i = 0; i < values.size(); ++i) {
    float& v = values[i];
    if (spec.scale_type == ScaleType::kF16) v = F16ToF32(F32ToF16(v));
    if (spec.scale_type == ScaleType::kBf16) v = Bf16ToF32(F32ToBf16(v));
    if (spec.scale_type != ScaleType::kF16TimesI8) continue;
    const auto groups = static_cast<size_t>(spec.groups());
    const size_t at = i / groups * static_cast<size_t>(spec.supers()) +
                      i % groups / static_cast<size_t>(spec.super_group);
    v = supers[at] * static_cast<float>(static_cast<int>(rng() % 256) - 128);
  }
}

// Random rows of `spec`. `magnitude` scales floating codes (tiny ones make denormal products).
inline WeightRows RandomWeights(const WeightSpec& spec, uint32_t seed, float magnitude = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  WeightRows rows;
  rows.Resize(spec, spec.n);
  const auto store = [&](size_t i, auto value) {
    std::memcpy(&rows.codes[i * sizeof value], &value, sizeof value);
  };
  const int low = spec.has_min || spec.scales == ScaleLayout::kTwoLevel ? 0 : -(1 << (spec.bits - 1));
  for (size_t i = 0; i < static_cast<size_t>(spec.n * spec.k); ++i) {
    const float v = normal(rng) * magnitude;
    switch (spec.code) {
      case CodeType::kF32: store(i, v); break;
      case CodeType::kF16: store(i, F32ToF16(v)); break;
      case CodeType::kBf16: store(i, F32ToBf16(v)); break;
      case CodeType::kE4M3: store(i, F32ToE4M3(v * 8)); break;
      case CodeType::kE5M2: store(i, F32ToE5M2(v * 8)); break;
      case CodeType::kInt:
        store(i, static_cast<uint8_t>(low + static_cast<int>(rng() % (1u << spec.bits))));
        break;
    }
  }
  std::uniform_real_distribution<float> scale(0.001f, 0.02f);
  for (float& v : rows.scales) v = scale(rng);
  for (float& v : rows.mins) v = -scale(rng) * 5;
  MakeExact(spec, rng, rows.scales, rows.super_scales);
  MakeExact(spec, rng, rows.mins, rows.super_mins);
  // Odd seeds: as QoQ makes them, (u - zero2) * scale2 within int8; even seeds: anything a nibble allows.
  const bool wild = seed % 2 == 0;
  for (uint8_t& v : rows.scales2) v = static_cast<uint8_t>(1 + rng() % (wild ? 25u : 14u));
  for (uint8_t& v : rows.zeros2) v = static_cast<uint8_t>(wild ? rng() % 16 : 6 + rng() % 4);
  return rows;
}

// Rows [begin, begin + count) of `all`.
inline WeightRows CopyRows(const WeightSpec& spec, const WeightRows& all, int64_t begin, int64_t count) {
  WeightRows rows;
  rows.Resize(spec, count);
  const auto copy = [&](auto& to, const auto& from) {
    if (from.empty()) return;
    const size_t per_row = from.size() / static_cast<size_t>(all.count);
    std::memcpy(to.data(), from.data() + static_cast<size_t>(begin) * per_row,
                static_cast<size_t>(count) * per_row * sizeof from[0]);
  };
  copy(rows.codes, all.codes);
  copy(rows.scales, all.scales);
  copy(rows.mins, all.mins);
  copy(rows.super_scales, all.super_scales);
  copy(rows.super_mins, all.super_mins);
  copy(rows.scales2, all.scales2);
  copy(rows.zeros2, all.zeros2);
  return rows;
}

// A whole weight in one kernel's layout.
struct Packed {
  AlignedBuffer memory;
  int64_t panels = 0;

  Packed(const GemmKernel& kernel, const WeightSpec& spec, const WeightRows& all) {
    const int64_t channels = kernel.panel_channels;
    const size_t bytes = kernel.panel_bytes(spec);
    panels = (spec.n + channels - 1) / channels;
    memory = std::move(AlignedBuffer::Allocate(bytes * static_cast<size_t>(panels)).value());
    std::memset(memory.data(), 0xee, memory.size());  // packing must write every byte that is read
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t count = std::min(channels, spec.n - p * channels);
      WeightRows rows = CopyRows(spec, all, p * channels, count);
      rows.Resize(spec, channels);
      rows.ZeroFrom(spec, count);
      kernel.pack(spec, rows, memory.data() + static_cast<size_t>(p) * bytes);
    }
  }
};

// Encoded random activations, in tile order if `spec` asks for it and there are enough rows.
inline ActivationBuffer RandomActivations(const ActivationSpec& spec, int64_t rows, int64_t cols,
                                          uint32_t seed, float magnitude = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, magnitude);
  ActivationBuffer buffer;
  if (!buffer.Reserve(spec, rows, cols).ok()) return buffer;
  buffer.SetRows(rows, /*tiles=*/true);
  std::vector<float> x(static_cast<size_t>(cols));
  for (int64_t row = 0; row < rows; ++row) {
    for (float& v : x) v = normal(rng);
    buffer.EncodeRow(row, x.data());
  }
  return buffer;
}

}  // namespace octavo::testing
