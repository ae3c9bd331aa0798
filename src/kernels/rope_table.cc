// SPDX-License-Identifier: Apache-2.0
// Frequencies of each rope type, and the rows of angles.
#include "kernels/rope_table.h"

#include <fmt/format.h>


#include <algorithm>
#include <cmath>
#include <new>
#include <numbers>

#include "kernels/attention/near_angles.h"

namespace octavo {
namespace {

// theta^(2i / rotary_dim), rounded once to f32 (the exponent is f32 in the libraries, too).
float Period(const RopeConfig& config, int i) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.rotary_dim);
  return static_cast<float>(std::pow(config.theta, static_cast<double>(exponent)));
}

// Llama 3.1: long wavelengths are divided by `factor`, short ones kept, those between are blended.
float Llama3Frequency(const RopeConfig& config, float frequency) {
  const auto factor = static_cast<float>(config.factor);
  const auto low = static_cast<float>(config.low_freq_factor);
  const auto high = static_cast<float>(config.high_freq_factor);
  const auto original = static_cast<float>(config.original_max_position_embeddings);
  const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

Status Validate(const RopeConfig& c, int64_t max_model_len) {
  const auto bad = [](std::string_view what, const auto& got, std::string_view want) {
    return InvalidArgument(fmt::format("rope: {} is {}, want {}", what, got, want));
  };
  if (c.rotary_dim <= 0 || c.rotary_dim % 2 != 0 || c.rotary_dim > 4096) {
    return bad("rotary_dim", c.rotary_dim, "an even number in 2..4096");
  }
  if (max_model_len <= 0 || max_model_len > int64_t{1} << 32) {
    return bad("max_model_len", max_model_len, "1..2^32");
  }
  if (!(c.theta > 0) || !std::isfinite(c.theta)) return bad("rope_theta", c.theta, "a positive number");
  if (!(c.factor > 0) || !std::isfinite(c.factor)) return bad("factor", c.factor, "a positive number");
  const bool needs_original = c.type == RopeType::kLlama3 || c.type == RopeType::kLongrope;
  if (needs_original && c.original_max_position_embeddings <= 0) {
    return bad("original_max_position_embeddings", c.original_max_position_embeddings, "at least 1");
  }
  if (c.type == RopeType::kLlama3 &&
      !(c.low_freq_factor > 0 && c.high_freq_factor > c.low_freq_factor)) {
    return bad("high_freq_factor", c.high_freq_factor, "more than low_freq_factor, both positive");
  }
  if (c.type != RopeType::kLongrope) return Status::Ok();
  for (const auto* list : {&c.short_factor, &c.long_factor}) {
    if (list->size() != static_cast<size_t>(c.rotary_dim / 2)) {
      return bad("the number of short_factor or long_factor entries", list->size(), "rotary_dim / 2");
    }
    if (std::ranges::any_of(*list, [](double f) { return !(f > 0) || !std::isfinite(f); })) {
      return InvalidArgument("rope: a short_factor or long_factor entry is not a positive number");
    }
  }
  return Status::Ok();
}

float AttentionScaling(const RopeConfig& config) {
  if (config.type != RopeType::kLongrope) return 1.0f;
  if (config.attention_factor > 0) return static_cast<float>(config.attention_factor);
  const auto original = static_cast<double>(config.original_max_position_embeddings);
  const double ratio = static_cast<double>(config.max_position_embeddings) / original;
  if (ratio <= 1.0 || original <= 1.0) return 1.0f;
  return static_cast<float>(std::sqrt(1.0 + std::log(ratio) / std::log(original)));
}

}  // namespace

Result<RopeTable> RopeTable::Create(const RopeConfig& config, int64_t max_model_len) {
  if (Status s = Validate(config, max_model_len); !s.ok()) return s;
  RopeTable table;
  table.rotary_dim_ = config.rotary_dim;
  table.max_positions_ = max_model_len;
  table.attention_scaling_ = AttentionScaling(config);
  const bool use_long = max_model_len > config.original_max_position_embeddings;
  for (int i = 0; i < config.rotary_dim / 2; ++i) {
    const auto at = static_cast<size_t>(i);
    float frequency = 1.0f / Period(config, i);
    if (config.type == RopeType::kLinear) frequency /= static_cast<float>(config.factor);
    if (config.type == RopeType::kLlama3) frequency = Llama3Frequency(config, frequency);
    if (config.type == RopeType::kLongrope) {
      const double divisor = use_long ? config.long_factor[at] : config.short_factor[at];
      frequency = 1.0f / (static_cast<float>(divisor) * Period(config, i));
    }
    table.inv_freq_.push_back(frequency);
  }
  OCTAVO_ASSIGN_OR_RETURN(table.near_angles_, MakeNearAngles(table.inv_freq_));
  const int64_t count = max_model_len * config.rotary_dim;
  table.rows_.reset(new (std::nothrow) float[static_cast<size_t>(count)]);
  if (table.rows_ == nullptr) {
    return ResourceExhausted(fmt::format("rope: no memory for {} positions of {} angles",
                                         max_model_len, config.rotary_dim / 2));
  }
  return table;
}

void RopeTable::Extend(int64_t num_positions) {
  const int64_t wanted = std::min(num_positions, max_positions_);
  const int half = rotary_dim_ / 2;
  for (; num_positions_ < wanted; ++num_positions_) {
    float* cos = rows_.get() + num_positions_ * rotary_dim_;
    for (int i = 0; i < half; ++i) {
      // The libraries' f32 cos is within one unit of the correctly rounded value computed here.
      const double angle = static_cast<float>(num_positions_) * inv_freq_[static_cast<size_t>(i)];
      cos[i] = static_cast<float>(std::cos(angle)) * attention_scaling_;
      cos[half + i] = static_cast<float>(std::sin(angle)) * attention_scaling_;
    }
  }
}

}  // namespace octavo
