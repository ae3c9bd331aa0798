// SPDX-License-Identifier: Apache-2.0
// Dequantization shared by all sources, and their descriptions.
#include "schemes/weight_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/float16.h"

namespace octavo {
namespace {

// out[i] = what codes[begin + i] stands for before scaling. One loop per type of code.
void DecodeCodes(const WeightSpec& spec, const uint8_t* codes, int64_t begin, int64_t count, float* out) {
  const auto decode = [&]<typename Code>(Code, const auto& to_float) {
    for (int64_t i = 0; i < count; ++i) {
      Code code;
      std::memcpy(&code, codes + (begin + i) * static_cast<int64_t>(sizeof code), sizeof code);
      out[i] = to_float(code);
    }
  };
  const auto cast = [](auto code) { return static_cast<float>(code); };
  switch (spec.code) {
    case CodeType::kF32: return decode(float{}, cast);
    case CodeType::kF16: return decode(uint16_t{}, F16ToF32);
    case CodeType::kBf16: return decode(uint16_t{}, Bf16ToF32);
    case CodeType::kE4M3: return decode(uint8_t{}, E4M3ToF32);
    case CodeType::kE5M2: return decode(uint8_t{}, E5M2ToF32);
    case CodeType::kInt: break;
  }
  return spec.has_min ? decode(uint8_t{}, cast) : decode(int8_t{}, cast);
}

// Level 1 is the integer (u - zero2) * scale2, exact; level 2 multiplies by the channel's scale.
void DequantizeTwoLevel(const WeightSpec& spec, const WeightRows& rows, DType type, float* out) {
  const int64_t groups = spec.groups();
  for (int64_t row = 0; row < rows.count; ++row) {
    for (int64_t i = 0; i < spec.k; ++i) {
      const auto group = static_cast<size_t>(row * groups + i / spec.group_size);
      const int level1 = (rows.codes[static_cast<size_t>(row * spec.k + i)] - rows.zeros2[group]) *
                         rows.scales2[group];
      out[row * spec.k + i] =
          RoundToDType(type, static_cast<float>(level1) * rows.scales[static_cast<size_t>(row)]);
    }
  }
}

}  // namespace

float RoundToDType(DType type, float value) {
  if (type == DType::kBF16) return RoundToBf16(value);
  return type == DType::kF16 ? F16ToF32(F32ToF16(value)) : value;
}

std::vector<std::byte> EncodeFloats(DType type, std::span<const float> values) {
  std::vector<std::byte> bytes;
  const auto append = [&bytes](const auto& value) {
    const auto piece = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  };
  for (const float value : values) {
    if (type == DType::kBF16) {
      append(F32ToBf16(value));
    } else if (type == DType::kF16) {
      append(F32ToF16(value));
    } else {
      append(value);
    }
  }
  return bytes;
}

void DequantizeWeightRows(const WeightSpec& spec, const WeightRows& rows, DType type, float* out) {
  if (spec.scales == ScaleLayout::kTwoLevel) return DequantizeTwoLevel(spec, rows, type, out);
  const int64_t groups = spec.groups();
  const int64_t size = groups == 0 || spec.group_size == 0 ? spec.k : spec.group_size;
  for (int64_t row = 0; row < rows.count; ++row) {
    const uint8_t* codes = rows.codes.data() + row * spec.k * spec.code_bytes();
    for (int64_t begin = 0; begin < spec.k; begin += size) {
      float* values = out + row * spec.k + begin;
      const int64_t count = std::min(size, spec.k - begin);
      DecodeCodes(spec, codes, begin, count, values);
      if (groups == 0) continue;
      const auto group = static_cast<size_t>(row * groups + begin / size);
      const float scale = rows.scales[group];
      const float min = spec.has_min ? rows.mins[group] : 0.0f;
      for (int64_t i = 0; i < count; ++i) values[i] *= scale;
      for (int64_t i = 0; i < count && spec.has_min; ++i) values[i] += min;
    }
    if (type == DType::kF32) continue;
    for (int64_t i = 0; i < spec.k; ++i) out[row * spec.k + i] = RoundToDType(type, out[row * spec.k + i]);
  }
}

Status WeightSource::CheckRange(int64_t row_begin, int64_t count) const {
  if (row_begin >= 0 && count >= 0 && row_begin <= spec_.n && count <= spec_.n - row_begin) {
    return Status::Ok();
  }
  return InvalidArgument(fmt::format("{}: rows [{}, {} + {}) of {}", info_.name, row_begin,
                                     row_begin, count, spec_.n));
}

Status WeightSource::DequantizeRows(int64_t row_begin, int64_t count, float* out) const {
  WeightRows rows;
  OCTAVO_RETURN_IF_ERROR(ReadRows(row_begin, count, rows));
  DequantizeWeightRows(spec_, rows, info_.dequantized, out);
  return Status::Ok();
}

std::string Describe(const WeightSpec& spec) {
  constexpr std::string_view kCodeNames[] = {"f32", "f16", "bf16", "fp8_e4m3", "fp8_e5m2", "int"};
  std::string text(kCodeNames[static_cast<size_t>(spec.code)]);
  if (spec.code == CodeType::kInt) text = fmt::format("{}int{}", spec.has_min ? "u" : "", spec.bits);
  if (spec.scales == ScaleLayout::kChannel) text += " per channel";
  if (spec.scales == ScaleLayout::kGroup) text += fmt::format(" group {}", spec.group_size);
  if (spec.scales == ScaleLayout::kTwoLevel) {
    text = fmt::format("uint{} group {} on int8 per channel", spec.bits, spec.group_size);
  }
  if (spec.has_min) text += " + min";
  return text;
}

}  // namespace octavo
