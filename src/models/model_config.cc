// SPDX-License-Identifier: Apache-2.0
// Common fields of config.json, range-checked.
#include "models/model_config.h"

#include <fmt/format.h>

namespace octavo {
namespace {

// Far above any real model, far below anything that could overflow a product of two of them.
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeadDim = 1024;

Status ParseHeads(const Json& config, ModelConfig& out) {
  OCTAVO_ASSIGN_OR_RETURN(const int64_t heads,
                          GetInt(config, "num_attention_heads", 1, kMaxWidth));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t kv_heads,
                          GetIntOr(config, "num_key_value_heads", heads, 1, heads));
  if (heads % kv_heads != 0) {
    return InvalidArgument(fmt::format(
        "num_attention_heads {} is not a multiple of num_key_value_heads {}", heads, kv_heads));
  }
  if (Find(config, "head_dim") == nullptr && out.hidden_size % heads != 0) {
    return InvalidArgument(fmt::format(
        "hidden_size {} is not a multiple of num_attention_heads {} and head_dim is not given",
        out.hidden_size, heads));
  }
  OCTAVO_ASSIGN_OR_RETURN(const int64_t head_dim,
                          GetIntOr(config, "head_dim", out.hidden_size / heads, 2, kMaxHeadDim));
  if (head_dim % 2 != 0) {
    return InvalidArgument(fmt::format("head_dim is {}, want an even number", head_dim));
  }
  out.num_heads = static_cast<int>(heads);
  out.num_kv_heads = static_cast<int>(kv_heads);
  out.head_dim = static_cast<int>(head_dim);
  return Status::Ok();
}

Result<std::string> FirstArchitecture(const Json& config) {
  const Json* list = Find(config, "architectures");
  if (list == nullptr) return NotFound("'architectures' is missing");
  if (!list->is_array() || list->empty() || !list->front().is_string()) {
    return InvalidArgument("'architectures' is not a list of names");
  }
  return list->front().get<std::string>();
}

}  // namespace

Result<ModelConfig> ParseCommonConfig(const Json& config) {
  ModelConfig out;
  OCTAVO_ASSIGN_OR_RETURN(out.architecture, FirstArchitecture(config));
  OCTAVO_ASSIGN_OR_RETURN(out.model_type, GetStringOr(config, "model_type", ""));
  OCTAVO_ASSIGN_OR_RETURN(out.hidden_size, GetInt(config, "hidden_size", 1, kMaxWidth));
  OCTAVO_ASSIGN_OR_RETURN(out.num_layers, GetInt(config, "num_hidden_layers", 1, kMaxLayers));
  OCTAVO_ASSIGN_OR_RETURN(out.vocab_size, GetInt(config, "vocab_size", 1, kMaxWidth));
  OCTAVO_ASSIGN_OR_RETURN(
      out.max_position_embeddings,
      GetIntOr(config, "max_position_embeddings", 2048, 1, int64_t{1} << 31));
  OCTAVO_ASSIGN_OR_RETURN(out.tie_word_embeddings,
                          GetBoolOr(config, "tie_word_embeddings", false));
  OCTAVO_ASSIGN_OR_RETURN(out.torch_dtype, GetStringOr(config, "torch_dtype", "bfloat16"));
  OCTAVO_RETURN_IF_ERROR(ParseHeads(config, out));
  out.layer_windows.assign(static_cast<size_t>(out.num_layers), 0);
  return out;
}

}  // namespace octavo
