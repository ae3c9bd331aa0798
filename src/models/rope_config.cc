// SPDX-License-Identifier: Apache-2.0
// Rotary embedding settings of a normalized config.json (io/hf_config.h).
#include <fmt/format.h>

#include "models/model_config.h"

namespace octavo {
namespace {

constexpr int64_t kMaxPositions = int64_t{1} << 31;

Result<std::vector<double>> FactorList(const Json& scaling, std::string_view key, int rotary_dim) {
  const Json* list = Find(scaling, key);
  const size_t want = static_cast<size_t>(rotary_dim / 2);
  if (list == nullptr || !list->is_array() || list->size() != want) {
    return InvalidArgument(fmt::format("rope_scaling: '{}' is not a list of {} numbers", key, want));
  }
  std::vector<double> out;
  for (const Json& value : *list) {
    if (!value.is_number()) {
      return InvalidArgument(fmt::format("rope_scaling: '{}' holds {}, want numbers", key,
                                         value.type_name()));
    }
    out.push_back(value.get<double>());
  }
  return out;
}

Status ParseScaling(const Json& config, const Json& scaling, RopeConfig& rope) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetStringOr(scaling, "rope_type", "default"));
  OCTAVO_ASSIGN_OR_RETURN(rope.factor, GetDoubleOr(scaling, "factor", 1.0));
  if (type == "default") return Status::Ok();
  if (type == "linear") {
    rope.type = RopeType::kLinear;
    return Status::Ok();
  }
  // Phi-3 keeps the original length at the top of the config.
  OCTAVO_ASSIGN_OR_RETURN(
      const int64_t top_level,
      GetIntOr(config, "original_max_position_embeddings", rope.max_position_embeddings, 1,
               kMaxPositions));
  OCTAVO_ASSIGN_OR_RETURN(
      rope.original_max_position_embeddings,
      GetIntOr(scaling, "original_max_position_embeddings", top_level, 1, kMaxPositions));
  if (type == "llama3") {
    rope.type = RopeType::kLlama3;
    OCTAVO_ASSIGN_OR_RETURN(rope.low_freq_factor, GetDoubleOr(scaling, "low_freq_factor", 1.0));
    OCTAVO_ASSIGN_OR_RETURN(rope.high_freq_factor, GetDoubleOr(scaling, "high_freq_factor", 4.0));
    return Status::Ok();
  }
  if (type == "longrope") {
    rope.type = RopeType::kLongrope;
    OCTAVO_ASSIGN_OR_RETURN(rope.short_factor, FactorList(scaling, "short_factor", rope.rotary_dim));
    OCTAVO_ASSIGN_OR_RETURN(rope.long_factor, FactorList(scaling, "long_factor", rope.rotary_dim));
    OCTAVO_ASSIGN_OR_RETURN(rope.attention_factor, GetDoubleOr(scaling, "attention_factor", 0.0));
    return Status::Ok();
  }
  return Unimplemented(fmt::format(
      "rope_type '{}' is not supported; this build has default, linear, llama3, longrope", type));
}

}  // namespace

Result<RopeConfig> ParseRopeConfig(const Json& config, int head_dim,
                                   int64_t max_position_embeddings) {
  RopeConfig rope;
  OCTAVO_ASSIGN_OR_RETURN(rope.theta, GetDoubleOr(config, "rope_theta", 10000.0));
  OCTAVO_ASSIGN_OR_RETURN(const double partial, GetDoubleOr(config, "partial_rotary_factor", 1.0));
  if (!(partial > 0 && partial <= 1)) {
    return InvalidArgument(fmt::format("partial_rotary_factor is {}, want 0 to 1", partial));
  }
  rope.rotary_dim = static_cast<int>(head_dim * partial) / 2 * 2;
  rope.max_position_embeddings = max_position_embeddings;
  if (const Json* scaling = Find(config, "rope_scaling")) {
    OCTAVO_RETURN_IF_ERROR(ParseScaling(config, *scaling, rope));
  }
  return rope;
}

}  // namespace octavo
