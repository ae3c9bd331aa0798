// SPDX-License-Identifier: Apache-2.0
// Parsing of quantization_config, one function per method.
#include "schemes/quantization_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>
#include <utility>

#include "schemes/module_folder.h"
#include "schemes/omniserve_form.h"

namespace octavo {
namespace {

constexpr std::string_view kMethods =
    "compressed-tensors, fp8, gptq, awq, bitsandbytes, octavo_qoq";

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
                                       "naive-quantized", "pack-quantized", "mixed-precision",
                                       "nvfp4-pack-quantized", "mxfp4-pack-quantized"}) {
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
  const Json* json = octavo::Find(config, "quantization_config");
  if (json == nullptr) json = octavo::Find(config, "compression_config");
  if (json == nullptr) return QuantizationConfig();
  const auto method = GetString(*json, "quant_method");
  auto result = method.ok() ? Parse(*json, *method) : method.status();
  if (result.ok()) return result;
  return std::move(result).status().WithContext("quantization_config");
}

Result<QuantizationConfig> QuantizationConfig::Parse(const Json& json, std::string method) {
  QuantizationConfig result;
  result.method_ = std::move(method);
  const auto parse = [&]() -> Status {
    if (result.method_ == "compressed-tensors") return result.ParseCompressedTensors(json);
    if (result.method_ == "fp8") return result.ParseFp8(json);
    if (result.method_ == "gptq") return result.ParseGptq(json);
    if (result.method_ == "awq") return result.ParseAwq(json);
    if (result.method_ == "bitsandbytes") return result.ParseBitsAndBytes(json);
    if (result.method_ == "octavo_qoq") return result.ParseQoq(json);
    return Unimplemented(
        fmt::format("quant_method '{:.40}' is not supported (want {})", result.method_, kMethods));
  };
  OCTAVO_RETURN_IF_ERROR(parse());
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
  if (!result->method_.empty()) return result;
  for (const auto& [name, method] : {std::pair("quantize_config.json", "gptq"),
                                     std::pair("quant_config.json", "awq")}) {
    const std::string path = checkpoint.path() + "/" + name;
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) continue;
    OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseJsonFile(path, {.max_bytes = 1 << 20}));
    auto parsed = Parse(json, method);
    if (!parsed.ok()) return std::move(parsed).status().WithContext(path);
    return parsed;
  }
  if (!HasOmniserveTensors(checkpoint)) return result;
  result->method_ = "omniserve";
  OCTAVO_RETURN_IF_ERROR(
      result->AddGroup({"Linear"}, FindScheme("W8A8")->args, FindScheme("OMNISERVE")));
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

namespace {

// The args of `bits` and the spelling of the group size that GPTQ and AWQ share: -1 is one per output.
Result<SchemeArgs> ParseIntGroups(const Json& json, std::string_view bits_key,
                                  std::string_view group_key, const SchemeArgs& fallback) {
  SchemeArgs args = fallback;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t bits,
                          GetIntOr(json, bits_key, fallback.weights.num_bits, 1, 64));
  const int64_t old_group = fallback.weights.strategy == Strategy::kGroup ? fallback.weights.group_size : -1;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t group, GetIntOr(json, group_key, old_group, -1, 1 << 20));
  if (group == 0) return InvalidArgument(fmt::format("'{}' is 0, want -1 or more than 0", group_key));
  args.weights.num_bits = static_cast<int>(bits);
  args.weights.strategy = group < 0 ? Strategy::kChannel : Strategy::kGroup;
  args.weights.group_size = static_cast<int>(std::max<int64_t>(group, 0));
  return args;
}

Status CheckGptqBits(const SchemeArgs& args) {
  const int bits = args.weights.num_bits;
  if (bits == 2 || bits == 3 || bits == 4 || bits == 8) return Status::Ok();
  return Unimplemented(fmt::format("{}-bit GPTQ (want 2, 3, 4 or 8)", bits));
}

}  // namespace

// The zeros in the file, and not 'sym' or 'desc_act', decide how a weight is read (transposed_form.h).
Status QuantizationConfig::ParseGptq(const Json& json) {
  const SchemeArgs defaults{.weights = {.num_bits = 4, .strategy = Strategy::kChannel}, .input = {}};
  OCTAVO_RETURN_IF_ERROR(GetInt(json, "bits").status());
  OCTAVO_ASSIGN_OR_RETURN(SchemeArgs args, ParseIntGroups(json, "bits", "group_size", defaults));
  OCTAVO_RETURN_IF_ERROR(CheckGptqBits(args));
  OCTAVO_ASSIGN_OR_RETURN(args.weights.symmetric, GetBoolOr(json, "sym", true));
  OCTAVO_ASSIGN_OR_RETURN(const std::string other, GetStringOr(json, "format", "gptq"));
  OCTAVO_ASSIGN_OR_RETURN(const std::string format, GetStringOr(json, "checkpoint_format", other));
  OCTAVO_ASSIGN_OR_RETURN(const std::string pack, GetStringOr(json, "pack_dtype", "int32"));
  if ((format != "gptq" && format != "gptq_v2") || pack != "int32") {
    return Unimplemented(fmt::format(
        "GPTQ checkpoint_format '{:.40}' packed in {:.20} (want gptq or gptq_v2 in int32)", format, pack));
  }
  const Scheme* scheme = FindScheme(format == "gptq" ? "GPTQ" : "GPTQ_V2");
  OCTAVO_RETURN_IF_ERROR(ParseGptqOverrides(json, args, scheme));
  return AddGroup({"Linear"}, args, scheme);
}

// "dynamic": {"+:EXPRESSION": {"bits": 8, ...}, "-:EXPRESSION": {}}; the tensors tell what "-" skips.
Status QuantizationConfig::ParseGptqOverrides(const Json& json, const SchemeArgs& args,
                                              const Scheme* scheme) {
  const Json* dynamic = octavo::Find(json, "dynamic");
  if (dynamic == nullptr || *dynamic == Json(false)) return Status::Ok();
  if (!dynamic->is_object()) return InvalidArgument("'dynamic' is no object");
  for (const auto& [key, fields] : dynamic->items()) {
    if (key.starts_with("-:")) continue;
    const std::string pattern = key.starts_with("+:") ? key.substr(2) : key;
    auto changed = ParseIntGroups(fields, "bits", "group_size", args);
    Status status = changed.ok() ? CheckGptqBits(*changed) : changed.status();
    if (status.ok()) status = AddGroup({"re:" + pattern}, *changed, scheme);
    if (!status.ok()) return std::move(status).WithContext(fmt::format("dynamic '{:.60}'", key));
  }
  return Status::Ok();
}

Status QuantizationConfig::ParseAwq(const Json& json) {
  const SchemeArgs defaults{
      .weights = {.num_bits = 4, .symmetric = false, .strategy = Strategy::kGroup, .group_size = 128},
      .input = {}};
  const bool old_names = octavo::Find(json, "w_bit") != nullptr;
  OCTAVO_ASSIGN_OR_RETURN(const SchemeArgs args,
                          ParseIntGroups(json, old_names ? "w_bit" : "bits",
                                         octavo::Find(json, "q_group_size") ? "q_group_size" : "group_size",
                                         defaults));
  if (args.weights.num_bits != 4) {
    return Unimplemented(fmt::format("{}-bit AWQ (want 4)", args.weights.num_bits));
  }
  OCTAVO_ASSIGN_OR_RETURN(std::string version, GetStringOr(json, "version", "gemm"));
  for (char& c : version) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (version != "gemm") {
    return Unimplemented(fmt::format("AWQ version '{:.40}' (want gemm)", version));
  }
  return AddGroup({"Linear"}, args, FindScheme("AWQ"));
}

Status QuantizationConfig::ParseBitsAndBytes(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(const bool old_int8, GetBoolOr(json, "_load_in_8bit", false));
  OCTAVO_ASSIGN_OR_RETURN(const bool int8, GetBoolOr(json, "load_in_8bit", old_int8));
  OCTAVO_ASSIGN_OR_RETURN(const bool old_4bit, GetBoolOr(json, "_load_in_4bit", false));
  OCTAVO_ASSIGN_OR_RETURN(const bool four_bit, GetBoolOr(json, "load_in_4bit", old_4bit));
  if (int8 == four_bit) return InvalidArgument("want one of 'load_in_8bit' and 'load_in_4bit'");
  if (!int8) {
    const SchemeArgs args{.weights = {.num_bits = 4, .strategy = Strategy::kChannel}, .input = {}};
    return AddGroup({"Linear"}, args, FindScheme("BNB_4BIT"));
  }
  const Scheme* scheme = FindScheme("LLM_INT8");
  SchemeArgs args = scheme->args;
  OCTAVO_ASSIGN_OR_RETURN(const double threshold,
                          GetDoubleOr(json, "llm_int8_threshold", args.outlier_threshold));
  if (!(threshold >= 0 && threshold <= std::numeric_limits<float>::max())) {
    return InvalidArgument(fmt::format("'llm_int8_threshold' is {}, want 0 or more", threshold));
  }
  args.outlier_threshold = static_cast<float>(threshold);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> skip, GetStrings(json, "llm_int8_skip_modules"));
  OCTAVO_ASSIGN_OR_RETURN(ignore_, ModuleMatcher::Compile(skip));
  return AddGroup({"Linear"}, args, scheme);
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

namespace {

Json MakeGroup(const SchemeArgs& args, const std::vector<std::string>& targets) {
  return {{"targets", targets},
          {"weights", ToJson(args.weights)},
          {"input_activations", args.input ? ToJson(*args.input) : Json()},
          {"output_activations", Json()}};
}

// As transformers writes it.
Json MakeBitsAndBytes(const SchemeArgs& args, const std::vector<std::string>& ignore) {
  return {{"quant_method", "bitsandbytes"},
          {"_load_in_8bit", true},
          {"_load_in_4bit", false},
          {"load_in_8bit", true},
          {"load_in_4bit", false},
          {"llm_int8_threshold", args.outlier_threshold},
          {"llm_int8_skip_modules", ignore},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"bnb_4bit_compute_dtype", "float32"},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", "fp4"},
          {"bnb_4bit_use_double_quant", false}};
}

Json MakeCompressedTensors(std::string_view format, const std::vector<std::string>& ignore,
                           Json groups) {
  return {{"quant_method", "compressed-tensors"},
          {"format", format},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", Json()},
          {"kv_cache_scheme", Json()},
          {"ignore", ignore},
          {"config_groups", std::move(groups)}};
}

}  // namespace

Json MakeQuantizationConfig(const Scheme& scheme, const SchemeArgs& args,
                            const std::vector<std::string>& ignore) {
  if (scheme.method == "octavo_qoq") {
    return {{"quant_method", scheme.method},
            {"version", 1},
            {"group_size", args.weights.group_size},
            {"ignore", ignore}};
  }
  if (scheme.method == "bitsandbytes") return MakeBitsAndBytes(args, ignore);
  return MakeCompressedTensors(scheme.format, ignore, {{"group_0", MakeGroup(args, {"Linear"})}});
}

Json MakeQuantizationConfig(const std::vector<ConfigGroup>& groups,
                            const std::vector<std::string>& ignore) {
  if (groups.size() == 1) return MakeQuantizationConfig(*groups[0].scheme, groups[0].args, ignore);
  const bool one_format = std::all_of(groups.begin(), groups.end(), [&](const ConfigGroup& group) {
    return group.scheme->format == groups.front().scheme->format;
  });
  std::vector<std::vector<std::string>> sets = {ignore};
  for (const ConfigGroup& group : groups) sets.push_back(group.modules);
  const ModuleFolder folder(sets);
  Json json = Json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    Json group = MakeGroup(groups[i].args, folder.Patterns(i + 1));
    // Versions before 0.11 read groups without a format only.
    if (!one_format) group["format"] = groups[i].scheme->format;
    json[fmt::format("group_{}", i)] = std::move(group);
  }
  return MakeCompressedTensors(one_format ? groups.front().scheme->format : "mixed-precision", ignore,
                               std::move(json));
}

}  // namespace octavo
