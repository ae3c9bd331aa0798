// SPDX-License-Identifier: Apache-2.0
// Puts rows into the order of omniserve's kernels.
#include "schemes/omniserve_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "schemes/omniserve_form.h"

namespace octavo {
namespace {

using Form = OmniserveTarget::Form;

constexpr int64_t kGroupSize = 128;  // the only one of omniserve's kernels

}  // namespace

Result<std::vector<TensorSpec>> OmniserveTensors(const OmniserveTarget& t) {
  if (t.form == Form::kInt8) {
    return std::vector<TensorSpec>{{t.module + ".weight", DType::kI8, Shape{t.n, t.k}},
                                   {t.module + ".dequant_scale", DType::kF16, Shape{t.n}}};
  }
  if (t.n % kOmniserveTile != 0 || t.k % kOmniserveTile != 0) {
    return FailedPrecondition(fmt::format("{}: shape [{}, {}] is no multiple of {}, which omniserve's tiles need",
                                          t.module, t.n, t.k, kOmniserveTile));
  }
  std::vector<TensorSpec> specs = {{t.module + ".qweight", DType::kI8, Shape{t.n, t.k / 2}},
                                   {t.module + ".s1_scales", DType::kF16, Shape{t.n}}};
  if (t.form == Form::kChannels) {
    specs.push_back({t.module + ".s1_szeros", DType::kF16, Shape{t.n}});
    return specs;
  }
  if (t.group_size != kGroupSize || t.k % kGroupSize != 0) {
    return FailedPrecondition(fmt::format("{}: {} columns in groups of {}; omniserve's kernels know groups of {}, "
                                          "or one per row (scheme QOQ)",
                                          t.module, t.k, t.group_size, kGroupSize));
  }
  specs.push_back({t.module + ".s2_scales", DType::kI8, Shape{t.groups(), t.n}});
  specs.push_back({t.module + ".s2_zeros", DType::kI8, Shape{t.groups(), t.n}});
  return specs;
}

OmniserveEncoder::OmniserveEncoder(const OmniserveTarget& target) : target_(target) {
  const auto size = [](int64_t count) { return static_cast<size_t>(count); };
  codes_.resize(size(target.n * target.k / (target.form == Form::kInt8 ? 1 : 2)));
  scales_.resize(size(target.n));
  if (target.form == Form::kChannels) products_.resize(size(target.n));
  if (target.form != Form::kGroups) return;
  scales2_.resize(size(target.groups() * target.n));
  zeros2_.resize(size(target.groups() * target.n));
}

Status OmniserveEncoder::AddRows(int64_t row_begin, const WeightRows& rows) {
  OCTAVO_RETURN_IF_ERROR(AddScales(row_begin, rows));
  if (target_.form == Form::kInt8) {
    std::copy(rows.codes.begin(), rows.codes.end(), codes_.begin() + row_begin * target_.k);
    return Status::Ok();
  }
  AddTiles(row_begin, rows);
  return target_.form == Form::kGroups ? AddGroups(row_begin, rows) : Status::Ok();
}

void OmniserveEncoder::AddTiles(int64_t row_begin, const WeightRows& rows) {
  uint8_t* tile = codes_.data() + row_begin * target_.k / 2;
  for (int64_t row = 0; row < rows.count; row += kOmniserveTile) {
    for (int64_t col = 0; col < target_.k; col += kOmniserveTile) {
      const uint8_t* corner = rows.codes.data() + row * target_.k + col;
      for (int i = 0; i < static_cast<int>(kOmniserveTileBytes); ++i) {
        const OmniservePlace place = OmniservePlaceOf(i);
        const uint8_t low = corner[place.row * target_.k + place.col];
        const uint8_t high = corner[(place.row + 16) * target_.k + place.col];
        tile[i] = static_cast<uint8_t>(low | high << 4);
      }
      tile += kOmniserveTileBytes;
    }
  }
}

Status OmniserveEncoder::AddScales(int64_t row_begin, const WeightRows& rows) {
  for (int64_t row = 0; row < rows.count; ++row) {
    const float scale = rows.scales[static_cast<size_t>(row)];
    const uint16_t half = F32ToF16(scale);
    if (F16ToF32(half) != scale) {
      return FailedPrecondition(fmt::format("{}: row {}: scale {} is no half float, the type that omniserve "
                                            "stores", target_.module, row_begin + row, scale));
    }
    scales_[static_cast<size_t>(row_begin + row)] = half;
    if (target_.form != Form::kChannels) continue;
    const float product = static_cast<float>(rows.zeros2[static_cast<size_t>(row)]) * scale;
    const uint16_t rounded = F32ToF16(product);
    if (!std::isfinite(F16ToF32(rounded))) {
      return FailedPrecondition(fmt::format("{}: row {}: zero {} is beyond half floats", target_.module,
                                            row_begin + row, product));
    }
    products_[static_cast<size_t>(row_begin + row)] = rounded;
  }
  return Status::Ok();
}

// The kernels multiply four codes at once, each in a byte, by one scale.
Status OmniserveEncoder::AddGroups(int64_t row_begin, const WeightRows& rows) {
  const int64_t groups = target_.groups();
  for (int64_t at = 0; at < rows.count * groups; ++at) {
    const int64_t row = row_begin + at / groups;
    const int64_t group = at % groups;
    const int scale = rows.scales2[static_cast<size_t>(at)];
    const int zero = rows.zeros2[static_cast<size_t>(at)];
    const uint8_t* codes = rows.codes.data() + at * target_.group_size;
    const int largest = *std::max_element(codes, codes + target_.group_size);
    if (scale < 1 || scale > 127 || zero > 15 || largest * scale > 255) {
      return FailedPrecondition(fmt::format(
          "{}: row {} group {}: code {} with scale {} and zero {}; omniserve takes scales from 1 to 127, zeros to 15 "
          "and products to 255",
          target_.module, row, group, largest, scale, zero));
    }
    const auto to = static_cast<size_t>(group * target_.n + OmniserveColumnOf(row));
    scales2_[to] = static_cast<uint8_t>(scale);
    zeros2_[to] = static_cast<uint8_t>(-zero * scale);
  }
  return Status::Ok();
}

std::vector<std::span<const std::byte>> OmniserveEncoder::bytes() const {
  std::vector<std::span<const std::byte>> all = {std::as_bytes(std::span(codes_)),
                                                 std::as_bytes(std::span(scales_))};
  if (!products_.empty()) all.push_back(std::as_bytes(std::span(products_)));
  if (scales2_.empty()) return all;
  all.push_back(std::as_bytes(std::span(scales2_)));
  all.push_back(std::as_bytes(std::span(zeros2_)));
  return all;
}

}  // namespace octavo
