// SPDX-License-Identifier: Apache-2.0
// Packs rows into the columns of GPTQ's and AWQ's tensors.
#include "schemes/transposed_encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/float16.h"
#include "schemes/packed_ints.h"
#include "schemes/transposed_form.h"

namespace octavo {
namespace {

Status CheckTarget(const TransposedTarget& t) {
  const bool awq = t.form == TransposedTarget::Form::kAwq;
  if (awq ? t.bits != 4 : t.bits != 2 && t.bits != 3 && t.bits != 4 && t.bits != 8) {
    return FailedPrecondition(fmt::format("{}: {}-bit codes; {}", t.module, t.bits,
                                          awq ? "AWQ stores 4 bits" : "GPTQ stores 2, 3, 4 or 8 bits"));
  }
  // Readers unpack whole words; those of GPTQ take 32 codes at a time.
  const int64_t unit = awq ? 8 : 32;
  if (t.n % unit != 0 || (!awq && t.k % unit != 0)) {
    return FailedPrecondition(fmt::format("{}: shape [{}, {}] is no multiple of {}, which {} needs",
                                          t.module, t.n, t.k, unit, awq ? "AWQ" : "GPTQ"));
  }
  if (awq && t.k % t.group_size != 0) {
    return FailedPrecondition(fmt::format("{}: {} columns are no multiple of the group size {}, which "
                                          "AWQ needs", t.module, t.k, t.group_size));
  }
  return Status::Ok();
}

}  // namespace

Result<std::vector<TensorSpec>> TransposedTensors(const TransposedTarget& target) {
  OCTAVO_RETURN_IF_ERROR(CheckTarget(target));
  const bool awq = target.form == TransposedTarget::Form::kAwq;
  const int64_t n = target.n;
  const int64_t packed_n = n * target.bits / 32;
  const std::string& module = target.module;
  std::vector<TensorSpec> specs = {
      {module + ".qweight", DType::kI32,
       awq ? Shape{target.k, packed_n} : Shape{target.k * target.bits / 32, n}},
      {module + ".qzeros", DType::kI32, Shape{target.groups(), packed_n}},
      {module + ".scales", DType::kF16, Shape{target.groups(), n}}};
  if (!awq) specs.push_back({module + ".g_idx", DType::kI32, Shape{target.k}});
  return specs;
}

TransposedEncoder::TransposedEncoder(const TransposedTarget& target) : target_(target) {
  codes_.resize(static_cast<size_t>(target.k * target.n * target.bits / 32));
  zeros_.resize(static_cast<size_t>(target.groups() * target.n * target.bits / 32));
  scales_.resize(static_cast<size_t>(target.groups() * target.n));
  if (target.form == TransposedTarget::Form::kAwq) return;
  group_of_.resize(static_cast<size_t>(target.k));
  for (int64_t i = 0; i < target.k; ++i) {
    group_of_[static_cast<size_t>(i)] = static_cast<int32_t>(i / target.group_size);
  }
}

Status TransposedEncoder::AddRows(int64_t row_begin, const IntRows& rows) {
  OCTAVO_RETURN_IF_ERROR(AddScales(row_begin, rows));
  if (target_.form == TransposedTarget::Form::kAwq) {
    AddAwq(row_begin, rows);
  } else {
    AddGptqCodes(row_begin, rows);
    AddGptqZeros(row_begin, rows);
  }
  return Status::Ok();
}

Status TransposedEncoder::AddScales(int64_t row_begin, const IntRows& rows) {
  const int64_t groups = target_.groups();
  for (int64_t row = 0; row < rows.count; ++row) {
    for (int64_t group = 0; group < groups; ++group) {
      const float scale = rows.scales[static_cast<size_t>(row * groups + group)];
      const uint16_t half = F32ToF16(scale);
      if (F16ToF32(half) != scale) {
        return FailedPrecondition(fmt::format("{}: row {} group {}: scale {} is no half float, the "
                                              "type that GPTQ and AWQ store",
                                              target_.module, row_begin + row, group, scale));
      }
      scales_[static_cast<size_t>(group * target_.n + row_begin + row)] = half;
    }
  }
  return Status::Ok();
}

// Output r of the matrix is nibble kAwqNibble[r % 8] of word r / 8 of every stored row.
void TransposedEncoder::AddAwq(int64_t row_begin, const IntRows& rows) {
  const int64_t width = target_.n / 8;
  const auto put = [&](std::vector<uint32_t>& words, const std::vector<uint8_t>& values,
                       int64_t depth) {
    for (int64_t row = 0; row < rows.count; ++row) {
      const int64_t at = row_begin + row;
      const int shift = 4 * kAwqNibble[static_cast<size_t>(at % 8)];
      for (int64_t i = 0; i < depth; ++i) {
        const uint32_t value = values[static_cast<size_t>(row * depth + i)];
        words[static_cast<size_t>(i * width + at / 8)] |= value << shift;
      }
    }
  };
  put(codes_, rows.codes, target_.k);
  put(zeros_, rows.zeros, target_.groups());
}

void TransposedEncoder::AddGptqCodes(int64_t row_begin, const IntRows& rows) {
  const int64_t words = target_.k * target_.bits / 32;
  std::vector<uint32_t> packed(static_cast<size_t>(words));
  for (int64_t row = 0; row < rows.count; ++row) {
    PackInts(rows.codes.data() + row * target_.k, target_.k, target_.bits,
             reinterpret_cast<uint8_t*>(packed.data()));
    uint32_t* column = codes_.data() + row_begin + row;
    for (int64_t word = 0; word < words; ++word) {
      column[word * target_.n] = packed[static_cast<size_t>(word)];
    }
  }
}

// The range's zeros fill whole words of each group's row (kRowAlignment).
void TransposedEncoder::AddGptqZeros(int64_t row_begin, const IntRows& rows) {
  const bool v1 = target_.form == TransposedTarget::Form::kGptq;
  const int64_t groups = target_.groups();
  const int64_t first = row_begin * target_.bits / 32;
  std::vector<uint8_t> column(static_cast<size_t>(rows.count));
  std::vector<uint32_t> packed(static_cast<size_t>(PackedWords(rows.count, target_.bits)));
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t row = 0; row < rows.count; ++row) {
      column[static_cast<size_t>(row)] = rows.zeros[static_cast<size_t>(row * groups + group)];
    }
    PackInts(column.data(), rows.count, target_.bits, reinterpret_cast<uint8_t*>(packed.data()));
    if (v1) SubtractPackedOnes(target_.bits, packed);
    std::copy(packed.begin(), packed.end(),
              zeros_.begin() + group * (target_.n * target_.bits / 32) + first);
  }
}

std::vector<std::span<const std::byte>> TransposedEncoder::bytes() const {
  std::vector<std::span<const std::byte>> all = {std::as_bytes(std::span(codes_)),
                                                 std::as_bytes(std::span(zeros_)),
                                                 std::as_bytes(std::span(scales_))};
  if (!group_of_.empty()) all.push_back(std::as_bytes(std::span(group_of_)));
  return all;
}

}  // namespace octavo
