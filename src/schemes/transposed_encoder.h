// SPDX-License-Identifier: Apache-2.0
// Writing side of the GPTQ and AWQ forms (transposed_form.h): rows in, the stored tensors out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "schemes/int_rows.h"

namespace octavo {

struct TransposedTarget {
  enum class Form { kGptq, kGptqV2, kAwq };
  Form form = Form::kGptq;
  std::string module;
  int64_t n = 0;
  int64_t k = 0;
  int bits = 4;
  int64_t group_size = 128;

  int64_t groups() const { return (k + group_size - 1) / group_size; }
};

// The stored tensors of a module. Errors: FailedPrecondition, naming the module, when the form cannot
// hold its shape or bits.
Result<std::vector<TensorSpec>> TransposedTensors(const TransposedTarget& target);

// Collects one module. Rows are columns of the stored tensors, so these are held whole, packed.
class TransposedEncoder {
 public:
  // Rows come in ranges that start at multiples of this; other ranges may be added at the same time.
  static constexpr int64_t kRowAlignment = 32;

  // Requires a target that TransposedTensors accepts.
  explicit TransposedEncoder(const TransposedTarget& target);

  // Errors: FailedPrecondition for a scale that is no half float.
  Status AddRows(int64_t row_begin, const IntRows& rows);

  // The bytes of each of TransposedTensors().
  std::vector<std::span<const std::byte>> bytes() const;

 private:
  Status AddScales(int64_t row_begin, const IntRows& rows);
  void AddAwq(int64_t row_begin, const IntRows& rows);
  void AddGptqCodes(int64_t row_begin, const IntRows& rows);
  void AddGptqZeros(int64_t row_begin, const IntRows& rows);

  TransposedTarget target_;
  std::vector<uint32_t> codes_;
  std::vector<uint32_t> zeros_;
  std::vector<uint16_t> scales_;
  std::vector<int32_t> group_of_;  // GPTQ: g_idx
};

}  // namespace octavo
