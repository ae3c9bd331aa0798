// SPDX-License-Identifier: Apache-2.0
// Cosines and sines of rotary position embeddings for the rope types of Hugging Face configs.
//
// The variant is fixed when the table is made, from the engine's max_model_len: a sequence never
// changes its angles when it grows past original_max_position_embeddings (as vLLM does; transformers
// switches in mid-sequence). Frequencies are f32 as transformers computes them: inv_freq rounded to
// f32, angle = position * inv_freq in f32, then cos and sin of that f32 angle.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "octavo/status.h"

namespace octavo {

enum class RopeType : uint8_t { kDefault, kLinear, kLlama3, kLongrope };

// The rope part of a config. f_i = theta^(-2i / rotary_dim) for i < rotary_dim / 2.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  int rotary_dim = 0;           // even; the dims of a head that turn
  double factor = 1.0;          // kLinear, kLlama3: f / factor
  double low_freq_factor = 1;   // kLlama3
  double high_freq_factor = 4;  // kLlama3, greater than low_freq_factor
  int64_t original_max_position_embeddings = 0;  // kLlama3, kLongrope
  int64_t max_position_embeddings = 0;           // kLongrope: gives the attention factor
  std::vector<double> short_factor = {};  // kLongrope: rotary_dim / 2 divisors each
  std::vector<double> long_factor = {};
  double attention_factor = 0;  // kLongrope: multiplies cos and sin; 0: the formula of the paper
};

// Rows are made on demand: an engine calls Extend() before a step, which costs nothing once the
// positions exist, so that a large max_model_len does not slow the start. Row pointers never move.
class RopeTable {
 public:
  RopeTable() = default;

  // Errors: a parameter out of range, or factor lists of the wrong length.
  static Result<RopeTable> Create(const RopeConfig& config, int64_t max_model_len);

  // Makes the rows of positions [0, num_positions); at most max_model_len. Not thread-safe.
  void Extend(int64_t num_positions);

  // [rotary_dim / 2], scaled by attention_scaling(). The row must have been made by Extend().
  const float* Cos(int64_t position) const { return rows_.get() + position * rotary_dim_; }
  const float* Sin(int64_t position) const { return Cos(position) + rotary_dim_ / 2; }

  // The table that attention takes beside Cos(0), for pages that lack a key bias (key_offset.h).
  const std::byte* near_angles() const { return near_angles_.data(); }

  int rotary_dim() const { return rotary_dim_; }
  int64_t max_positions() const { return max_positions_; }
  std::span<const float> inv_freq() const { return inv_freq_; }
  float attention_scaling() const { return attention_scaling_; }

 private:
  int rotary_dim_ = 0;
  int64_t max_positions_ = 0;
  int64_t num_positions_ = 0;
  float attention_scaling_ = 1.0f;
  std::vector<float> inv_freq_;
  AlignedBuffer near_angles_;
  std::unique_ptr<float[]> rows_;  // [max_positions][cos | sin]; untouched pages cost no memory
};

}  // namespace octavo
