// SPDX-License-Identifier: Apache-2.0
// How one tensor is quantized, in the vocabulary of compressed-tensors ("QuantizationArgs").
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

enum class QuantType : uint8_t { kInt, kFloat };

// The elements that share one scale: all, a row, `group_size` columns of a row, a block of rows and
// columns, a token (activations only).
enum class Strategy : uint8_t { kTensor, kChannel, kGroup, kBlock, kToken };

// LLM.int8()'s alpha, arXiv:2208.07339, section 3.2; also what transformers takes by default.
inline constexpr float kDefaultOutlierThreshold = 6.0f;

struct QuantArgs {
  int num_bits = 8;  // kInt: 2 to 8; kFloat: 8 (E4M3) or 4 (E2M1)
  QuantType type = QuantType::kInt;
  bool symmetric = true;
  Strategy strategy = Strategy::kTensor;
  int group_size = 0;  // > 0 for kGroup, else 0
  int block_rows = 0;  // > 0 for kBlock, else 0
  int block_cols = 0;
  bool dynamic = false;  // computed at run time; activations only

  bool operator==(const QuantArgs&) const = default;
};

// One entry of config_groups: the weights and what they are multiplied with.
struct SchemeArgs {
  QuantArgs weights;
  std::optional<QuantArgs> input;  // absent: activations stay in 16 bit
  float outlier_threshold = 0;     // LLM.int8(): activations from here on stay in 16 bit; 0: none do

  bool operator==(const SchemeArgs&) const = default;
  // Whether activations have a scale that calibration measures.
  bool static_input() const { return input && !input->dynamic; }
};

// Reads an args object ("weights", "input_activations", "kv_cache_scheme"). Unknown keys are errors,
// as in compressed-tensors; legal values that Octavo does not run are kUnimplemented by name.
Result<QuantArgs> ParseQuantArgs(const Json& json);

// The args object with the classic keys only, which old and new readers accept.
Json ToJson(const QuantArgs& args);

// "int4 sym group 128", for people.
std::string Describe(const QuantArgs& args);
std::string Describe(const SchemeArgs& args);

}  // namespace octavo
