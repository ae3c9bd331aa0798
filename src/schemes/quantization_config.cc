// SPDX-License-Identifier: Apache-2.0
// Parsing of quantization_config, one function per method.
#include "schemes/quantization_config.h"

#include <fmt/format.h>

#include <utility>

namespace octavo {
namespace {

constexpr std::string_view kMethods = "compressed-tensors, fp8, octavo_qoq";

Result<std::vector<std::string>> GetStrings(const Json& json, std::string_view key) {
  std::vector<std::string> strings;
  const Json* list = Find(json, key);
  if (list == nullptr) return strings;
  if (!list->is_array()) {
    return InvalidArgument(fmt::format("'{}' is {}, want a list", key, list->type_name()));
  }
  for (const Json& item : *list) {
    if (!item.is_string()) {
      return InvalidArgument(fmt::format("'{}' holds {}, want strings", key, item.type_name()));
    }
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

bool IsEmptyOrAbsent(const Json& json, std::string_view key) {
  const Json* value = Find(json, key);
  return value == nullptr || value->empty();
}

// Top-level keys that change what the bytes or the forward pass mean.
Status CheckUnsupported(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string format, GetStringOr(json, "format", "dense"));
  for (const std::string_view known : {"dense", "int-quantized", "float-quantized",
                                       "naive-quantized", "pack-quantized", "mixed-precision"}) {
    if (format != known) continue;
    if (!IsEmptyOrAbsent(json, "transform_config")) {
      return Unimplemented("transform_config: weights that need transforms at run time");
    }
    const Json* sparsity = Find(json, "sparsity_config");
    if (sparsity == nullptr || sparsity->empty()) return Status::Ok();
    OCTAVO_ASSIGN_OR_RETURN(const std::string sparse, GetStringOr(*sparsity, "format", "dense"));
    if (sparse == "dense") return Status::Ok();
    return Unimplemented(fmt::format("sparsity_config format '{}'", sparse));
  }
  return Unimplemented(fmt::format("compressed-tensors format '{}'", format));
}

QuantArgs Float8(Strategy strategy, bool dynamic) {
  return {.num_bits = 8, .type = QuantType::kFloat, .strategy = strategy, .dynamic = dynamic};
}

}  // namespace

Result<QuantizationConfig> QuantizationConfig::FromModelConfig(const Json& config) {
  QuantizationConfig result;
  const Json* json = octavo::Find(config, "quantization_config");
  if (json == nullptr) json = octavo::Find(config, "compression_config");
  if (json == nullptr) return result;
  const auto parse = [&]() -> Status {
    OCTAVO_ASSIGN_OR_RETURN(result.method_, GetString(*json, "quant_method"));
    if (result.method_ == "compressed-tensors") return result.ParseCompressedTensors(*json);
    if (result.method_ == "fp8") return result.ParseFp8(*json);
    if (result.method_ == "octavo_qoq") return result.ParseQoq(*json);
    return Unimplemented(
        fmt::format("quant_method '{:.40}' is not supported (want {})", result.method_, kMethods));
  };
  if (Status status = parse(); !status.ok()) {
    return std::move(status).WithContext("quantization_config");
  }
  return result;
}

Result<QuantizationConfig> QuantizationConfig::FromCheckpoint(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf()) {
    QuantizationConfig result;
    result.unquantized_ = &kScheme_gguf;
    return result;
  }
  auto result = FromModelConfig(checkpoint.config());
  if (!result.ok()) {
    return std::move(result).status().WithContext(checkpoint.path() + "/config.json");
  }
  return result;
}

Status QuantizationConfig::AddGroup(const std::vector<std::string>& targets,
                                    const SchemeArgs& args, const Scheme* scheme) {
  if (args.weights.strategy == Strategy::kToken || args.weights.dynamic) {
    return InvalidArgument(fmt::format("weights are {}", Describe(args.weights)));
  }
  Group group{.targets = {}, .scheme = {.scheme = scheme, .args = args}};
  if (scheme == nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(group.scheme.scheme, MatchScheme(args));
  }
  OCTAVO_RETURN_IF_ERROR(ChooseActivation(args).status());
  OCTAVO_ASSIGN_OR_RETURN(group.targets, ModuleMatcher::Compile(targets));
  groups_.push_back(std::move(group));
  return Status::Ok();
}

Status QuantizationConfig::ParseCompressedTensors(const Json& json) {
  OCTAVO_RETURN_IF_ERROR(CheckUnsupported(json));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> ignore, GetStrings(json, "ignore"));
  OCTAVO_ASSIGN_OR_RETURN(ignore_, ModuleMatcher::Compile(ignore));
  if (const Json* kv_cache = octavo::Find(json, "kv_cache_scheme")) {
    auto args = ParseQuantArgs(*kv_cache);
    if (!args.ok()) return std::move(args).status().WithContext("kv_cache_scheme");
    kv_cache_ = *args;
  }
  const Json* groups = octavo::Find(json, "config_groups");
  if (groups == nullptr) return Status::Ok();
  if (!groups->is_object()) return InvalidArgument("'config_groups' is no object");
  for (const auto& [name, group] : groups->items()) {
    if (Status status = ParseGroup(name, group); !status.ok()) {
      return std::move(status).WithContext(fmt::format("config_groups '{:.60}'", name));
    }
  }
  return Status::Ok();
}

Status QuantizationConfig::ParseGroup(const std::string& name, const Json& json) {
  if (json.is_array()) {  // {"W8A8": ["Linear"]}: the key is a preset
    const Scheme* preset = FindScheme(name);
    if (preset == nullptr || !preset->matches) return Unimplemented("unknown preset");
    const Json holder = {{"targets", json}};
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> targets, GetStrings(holder, "targets"));
    return AddGroup(targets, preset->args, nullptr);
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> targets, GetStrings(json, "targets"));
  const Json* weights = octavo::Find(json, "weights");
  if (weights == nullptr) return Status::Ok();  // e.g. attention modules of a kv cache scheme
  if (octavo::Find(json, "output_activations") != nullptr) {
    return Unimplemented("output_activations");
  }
  SchemeArgs args;
  auto parsed = ParseQuantArgs(*weights);
  if (!parsed.ok()) return std::move(parsed).status().WithContext("weights");
  args.weights = *parsed;
  if (const Json* input = octavo::Find(json, "input_activations")) {
    parsed = ParseQuantArgs(*input);
    if (!parsed.ok()) return std::move(parsed).status().WithContext("input_activations");
    args.input = *parsed;
  }
  return AddGroup(targets, args, nullptr);
}

// AutoFP8: one f32 scale per tensor. With weight_block_size: DeepSeek's form, one per block.
Status QuantizationConfig::ParseFp8(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string activations,
                          GetStringOr(json, "activation_scheme", "dynamic"));
  if (activations != "static" && activations != "dynamic") {
    return InvalidArgument(
        fmt::format("'activation_scheme' is '{:.40}', want static or dynamic", activations));
  }
  SchemeArgs args{.weights = Float8(Strategy::kTensor, false),
                  .input = Float8(Strategy::kTensor, activations == "dynamic")};
  if (const Json* block = octavo::Find(json, "weight_block_size")) {
    const Json holder = {{"num_bits", 8},
                         {"type", "float"},
                         {"strategy", "block"},
                         {"block_structure", *block}};
    auto weights = ParseQuantArgs(holder);
    if (!weights.ok()) return std::move(weights).status().WithContext("weight_block_size");
    args.weights = *weights;
    args.input = Float8(Strategy::kGroup, true);
    args.input->group_size = 128;
  }
  OCTAVO_ASSIGN_OR_RETURN(std::vector<std::string> ignore, GetStrings(json, "ignored_layers"));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> more,
                          GetStrings(json, "modules_to_not_convert"));
  ignore.insert(ignore.end(), more.begin(), more.end());
  ignore.push_back("lm_head");  // never quantized under this method, listed or not
  OCTAVO_ASSIGN_OR_RETURN(ignore_, ModuleMatcher::Compile(ignore));
  if (const Json* kv = octavo::Find(json, "kv_cache_scheme")) {
    if (*kv != Json("static")) return Unimplemented("kv_cache_scheme other than \"static\"");
    kv_cache_ = Float8(Strategy::kTensor, false);
  }
  return AddGroup({"Linear"}, args, nullptr);
}

Status QuantizationConfig::ParseQoq(const Json& json) {
  OCTAVO_RETURN_IF_ERROR(GetInt(json, "version", 1, 1).status());
  SchemeArgs args = FindScheme("QOQ_G128")->args;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t group_size, GetInt(json, "group_size", 16, 1 << 16));
  args.weights.group_size = static_cast<int>(group_size);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> ignore, GetStrings(json, "ignore"));
  OCTAVO_ASSIGN_OR_RETURN(ignore_, ModuleMatcher::Compile(ignore));
  return AddGroup({"Linear"}, args, FindScheme("QOQ_G128"));
}

Result<ModuleScheme> QuantizationConfig::Resolve(std::string_view module,
                                                 std::string_view module_class) const {
  using Match = ModuleMatcher::Match;
  ModuleScheme found{.scheme = unquantized_, .args = {}};
  if (groups_.empty()) return found;
  OCTAVO_ASSIGN_OR_RETURN(const Match ignored, ignore_.Find(module, module_class));
  if (ignored != Match::kNone) return found;
  Match best = Match::kNone;
  for (const Group& group : groups_) {
    OCTAVO_ASSIGN_OR_RETURN(const Match match, group.targets.Find(module, module_class));
    if (match <= best) continue;
    best = match;
    found = group.scheme;
  }
  return found;
}

Json MakeQuantizationConfig(const Scheme& scheme, const SchemeArgs& args,
                            const std::vector<std::string>& ignore) {
  if (scheme.method == "octavo_qoq") {
    return {{"quant_method", scheme.method},
            {"version", 1},
            {"group_size", args.weights.group_size},
            {"ignore", ignore}};
  }
  const Json group = {{"targets", Json::array({"Linear"})},
                      {"weights", ToJson(args.weights)},
                      {"input_activations", args.input ? ToJson(*args.input) : Json()},
                      {"output_activations", Json()}};
  return {{"quant_method", scheme.method},
          {"format", scheme.format},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", Json()},
          {"kv_cache_scheme", Json()},
          {"ignore", ignore},
          {"config_groups", {{"group_0", group}}}};
}

}  // namespace octavo
