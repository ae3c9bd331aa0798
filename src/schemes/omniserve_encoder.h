// SPDX-License-Identifier: Apache-2.0
// Writing side of omniserve's form (omniserve_form.h): rows in, the stored tensors out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "schemes/weight_source.h"

namespace octavo {

struct OmniserveTarget {
  enum class Form { kGroups, kChannels, kInt8 };
  Form form = Form::kGroups;
  std::string module;
  int64_t n = 0;
  int64_t k = 0;
  int64_t group_size = 0;  // kGroups

  int64_t groups() const { return k / group_size; }
};

// The stored tensors of a module. Errors: FailedPrecondition, naming the module, for a shape or a group
// size that omniserve's kernels do not take.
Result<std::vector<TensorSpec>> OmniserveTensors(const OmniserveTarget& target);

// Collects one module.
class OmniserveEncoder {
 public:
  // Rows come in ranges that start and end at multiples of this; other ranges may be added at the same
  // time.
  static constexpr int64_t kRowAlignment = 32;

  // Requires a target that OmniserveTensors accepts.
  explicit OmniserveEncoder(const OmniserveTarget& target);

  // kGroups: rows of ScaleLayout::kTwoLevel. kChannels: unsigned codes, scales [count], and the zero point
  // of each row in zeros2 [count]. kInt8: signed codes, scales [count].
  // Errors: FailedPrecondition for a scale that is no half float, or out of the range of the kernels.
  Status AddRows(int64_t row_begin, const WeightRows& rows);

  // The bytes of each of OmniserveTensors().
  std::vector<std::span<const std::byte>> bytes() const;

 private:
  void AddTiles(int64_t row_begin, const WeightRows& rows);
  Status AddScales(int64_t row_begin, const WeightRows& rows);
  Status AddGroups(int64_t row_begin, const WeightRows& rows);

  OmniserveTarget target_;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_;
  std::vector<uint16_t> products_;  // kChannels: s1_szeros
  std::vector<uint8_t> scales2_;    // kGroups
  std::vector<uint8_t> zeros2_;
};

}  // namespace octavo
