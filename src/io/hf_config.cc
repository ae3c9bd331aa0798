// SPDX-License-Identifier: Apache-2.0
// Moves rope and dtype keys of either generation to one place.
#include "io/hf_config.h"

#include <fmt/format.h>

#include <string>

namespace octavo {
namespace {

Status WantNumber(std::string_view key, const Json& value) {
  return InvalidArgument(fmt::format("'{}' is {}, want a number", key, value.type_name()));
}

// Copies a number out of `from` to the top of the config.
Status Hoist(const Json& from, std::string_view key, Json& config, std::string_view new_key) {
  const Json* value = Find(from, key);
  if (value == nullptr) return Status::Ok();
  if (!value->is_number()) return WantNumber(key, *value);
  config[std::string(new_key)] = *value;
  return Status::Ok();
}

Status NormalizeDType(Json& config) {
  const Json* value = Find(config, "dtype");
  if (value == nullptr) value = Find(config, "torch_dtype");
  if (value == nullptr) {
    config.erase("dtype");
    config.erase("torch_dtype");
    return Status::Ok();
  }
  if (!value->is_string()) {
    return InvalidArgument(fmt::format("'dtype' is {}, want a string", value->type_name()));
  }
  std::string name = value->get<std::string>();
  if (name.starts_with("torch.")) name.erase(0, 6);
  if (name.find('.') != std::string::npos) {
    return InvalidArgument(fmt::format("'dtype' is '{}', want a name such as bfloat16", name));
  }
  config["torch_dtype"] = name;
  config["dtype"] = name;
  return Status::Ok();
}

// rope_parameters may hold one set of keys, or one set per layer type (Gemma 3). Returns the set of
// the full-attention layers; hoists the sliding layers' base.
Result<Json> MainRopeParameters(const Json& parameters, Json& config) {
  const Json* full = Find(parameters, "full_attention");
  if (full == nullptr) return parameters;
  if (const Json* sliding = Find(parameters, "sliding_attention")) {
    OCTAVO_RETURN_IF_ERROR(Hoist(*sliding, "rope_theta", config, "rope_local_base_freq"));
  }
  if (!full->is_object()) {
    return InvalidArgument("'rope_parameters.full_attention' wants an object");
  }
  return *full;
}

// `scaling`: the raw rope_scaling or rope_parameters object. Hoists what belongs to the top, and
// returns null when no scaling is left.
Result<Json> NormalizeScaling(Json scaling, Json& config) {
  if (!scaling.is_object()) {
    return InvalidArgument(
        fmt::format("'rope_scaling' is {}, want an object", scaling.type_name()));
  }
  OCTAVO_RETURN_IF_ERROR(Hoist(scaling, "rope_theta", config, "rope_theta"));
  OCTAVO_RETURN_IF_ERROR(Hoist(scaling, "partial_rotary_factor", config, "partial_rotary_factor"));
  scaling.erase("rope_theta");
  scaling.erase("partial_rotary_factor");
  OCTAVO_ASSIGN_OR_RETURN(std::string type, GetStringOr(scaling, "type", "default"));
  OCTAVO_ASSIGN_OR_RETURN(type, GetStringOr(scaling, "rope_type", type));
  scaling.erase("type");
  scaling.erase("rope_type");
  if (type == "default") return Json();
  const Json* model_type = Find(config, "model_type");
  const bool is_phi3 = model_type != nullptr && *model_type == "phi3";
  if (type == "su" || (type == "yarn" && is_phi3)) type = "longrope";
  constexpr auto kOriginal = "original_max_position_embeddings";
  if (Find(config, kOriginal) == nullptr) {
    OCTAVO_RETURN_IF_ERROR(Hoist(scaling, kOriginal, config, kOriginal));
  } else if (Find(scaling, kOriginal) == nullptr) {
    scaling[kOriginal] = config[kOriginal];
  }
  Json result = {{"rope_type", type}};
  result.update(scaling);
  return result;
}

}  // namespace

Result<Json> NormalizeConfig(const Json& config) {
  if (!config.is_object()) {
    return InvalidArgument(fmt::format("config is {}, want an object", config.type_name()));
  }
  Json result = config;
  OCTAVO_RETURN_IF_ERROR(NormalizeDType(result));
  Json scaling;
  if (const Json* parameters = Find(config, "rope_parameters")) {
    OCTAVO_ASSIGN_OR_RETURN(scaling, MainRopeParameters(*parameters, result));
  } else if (const Json* old_scaling = Find(config, "rope_scaling")) {
    scaling = *old_scaling;
  }
  result.erase("rope_parameters");
  result.erase("rope_scaling");
  if (!scaling.is_null()) {
    OCTAVO_ASSIGN_OR_RETURN(scaling, NormalizeScaling(std::move(scaling), result));
  }
  if (!scaling.is_null()) result["rope_scaling"] = scaling;
  for (const auto* key : {"rope_theta", "rope_local_base_freq", "partial_rotary_factor"}) {
    const Json* value = Find(result, key);
    if (value != nullptr && !value->is_number()) return WantNumber(key, *value);
  }
  return result;
}

}  // namespace octavo
