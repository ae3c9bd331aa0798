// SPDX-License-Identifier: Apache-2.0
// QuantizationArgs from and to JSON, checked as compressed-tensors checks them.
#include "schemes/quant_args.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>
#include <utility>

namespace octavo {
namespace {

constexpr std::array<std::string_view, 12> kKnownKeys = {
    "num_bits", "type",        "symmetric", "group_size", "strategy", "block_structure", "dynamic",
    "actorder", "scale_dtype", "zp_dtype",  "observer",   "observer_kwargs"};

// "tensor_group" is a group beside one scale for the tensor (NVFP4), which its form tells by itself.
constexpr std::array<std::pair<std::string_view, Strategy>, 6> kStrategies = {{
    {"tensor", Strategy::kTensor},
    {"channel", Strategy::kChannel},
    {"group", Strategy::kGroup},
    {"tensor_group", Strategy::kGroup},
    {"block", Strategy::kBlock},
    {"token", Strategy::kToken},
}};

std::string_view NameOf(Strategy strategy) {
  for (const auto& [name, value] : kStrategies) {
    if (value == strategy) return name;
  }
  return "?";
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

Status CheckKeys(const Json& json) {
  if (!json.is_object()) {
    return InvalidArgument(fmt::format("quantization args are {}, want an object", json.type_name()));
  }
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end()) {
      return InvalidArgument(fmt::format("unknown quantization argument '{}'", key));
    }
  }
  return Status::Ok();
}

Result<QuantType> ParseType(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string raw, GetStringOr(json, "type", "int"));
  const std::string type = Lower(raw);
  if (type == "int") return QuantType::kInt;
  if (type == "float") return QuantType::kFloat;
  return InvalidArgument(fmt::format("'type' is '{}', want int or float", type));
}

// null is inferred from the group size, as in compressed-tensors.
Result<Strategy> ParseStrategy(const Json& json, int64_t group_size) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string raw, GetStringOr(json, "strategy", ""));
  if (raw.empty()) {
    if (group_size > 0) return Strategy::kGroup;
    return group_size == -1 ? Strategy::kChannel : Strategy::kTensor;
  }
  const std::string name = Lower(raw);
  for (const auto& [known, value] : kStrategies) {
    if (known == name) return value;
  }
  return Unimplemented(fmt::format(
      "quantization strategy '{}' (want tensor, channel, group, block or token)", name));
}

Result<bool> ParseDynamic(const Json& json) {
  const Json* dynamic = Find(json, "dynamic");
  if (dynamic == nullptr) return false;
  if (dynamic->is_boolean()) return dynamic->get<bool>();
  if (*dynamic == Json("local")) return true;  // NVFP4: group scales at run time, under a static one
  if (dynamic->is_string()) {
    return Unimplemented(fmt::format("'dynamic' is {}", DumpJson(*dynamic)));
  }
  return InvalidArgument(fmt::format("'dynamic' is {}, want true or false", dynamic->type_name()));
}

// [rows, cols] or "128x128".
Status ParseBlock(const Json& json, QuantArgs& args) {
  const Json* block = Find(json, "block_structure");
  if (block == nullptr) {
    return InvalidArgument("strategy 'block' without 'block_structure'");
  }
  Json pair = *block;
  if (block->is_string()) {
    const std::string text = block->get<std::string>();
    const size_t cross = text.find('x');
    if (text.size() > 20 || cross == std::string::npos) {
      return InvalidArgument(fmt::format("'block_structure' is '{:.40}', want rowsxcols", text));
    }
    const auto parsed = ParseJson(fmt::format("[{},{}]", text.substr(0, cross), text.substr(cross + 1)));
    if (!parsed.ok()) return InvalidArgument(fmt::format("'block_structure' is '{}'", text));
    pair = *parsed;
  }
  if (!pair.is_array() || pair.size() != 2) {
    return InvalidArgument("'block_structure' must be [rows, cols]");
  }
  const auto extent = [&pair](size_t i) -> Result<int64_t> {
    Json holder = {{"block_structure", pair[i]}};
    return GetInt(holder, "block_structure", 1, 1 << 20);
  };
  OCTAVO_ASSIGN_OR_RETURN(const int64_t rows, extent(0));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t cols, extent(1));
  args.block_rows = static_cast<int>(rows);
  args.block_cols = static_cast<int>(cols);
  return Status::Ok();
}

// Only the dynamic act-order leaves a trace on disk (g_idx); "weight" and "static" do not.
Status CheckActOrder(const Json& json) {
  const Json* order = Find(json, "actorder");
  if (order == nullptr || *order == Json(false)) return Status::Ok();
  if (order->is_string()) {
    const std::string name = Lower(order->get<std::string>());
    if (name == "weight" || name == "static") return Status::Ok();
  }
  return Unimplemented(fmt::format("actorder {} (weights stored with a g_idx)", DumpJson(*order)));
}

Status CheckBits(const QuantArgs& args) {
  const bool known = args.type == QuantType::kFloat ? args.num_bits == 8 || args.num_bits == 4
                                                    : args.num_bits >= 2 && args.num_bits <= 8;
  if (known) return Status::Ok();
  return Unimplemented(fmt::format("{}-bit {} quantization", args.num_bits,
                                   args.type == QuantType::kFloat ? "float" : "int"));
}

}  // namespace

Result<QuantArgs> ParseQuantArgs(const Json& json) {
  OCTAVO_RETURN_IF_ERROR(CheckKeys(json));
  QuantArgs args;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t bits, GetIntOr(json, "num_bits", 8, 1, 64));
  args.num_bits = static_cast<int>(bits);
  OCTAVO_ASSIGN_OR_RETURN(args.type, ParseType(json));
  OCTAVO_RETURN_IF_ERROR(CheckBits(args));
  OCTAVO_ASSIGN_OR_RETURN(args.symmetric, GetBoolOr(json, "symmetric", true));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t group, GetIntOr(json, "group_size", 0, -1, 1 << 20));
  OCTAVO_ASSIGN_OR_RETURN(args.strategy, ParseStrategy(json, group));
  OCTAVO_ASSIGN_OR_RETURN(args.dynamic, ParseDynamic(json));
  OCTAVO_RETURN_IF_ERROR(CheckActOrder(json));
  if (args.strategy == Strategy::kGroup) {
    if (group <= 0) return InvalidArgument("strategy 'group' needs a 'group_size' above 0");
    args.group_size = static_cast<int>(group);
  }
  if (args.strategy == Strategy::kBlock) OCTAVO_RETURN_IF_ERROR(ParseBlock(json, args));
  if (args.strategy == Strategy::kToken && !args.dynamic) {
    return InvalidArgument("strategy 'token' needs 'dynamic': true");
  }
  return args;
}

Json ToJson(const QuantArgs& args) {
  Json json = {{"num_bits", args.num_bits},
               {"type", args.type == QuantType::kFloat ? "float" : "int"},
               {"symmetric", args.symmetric},
               {"strategy", NameOf(args.strategy)}};
  if (args.strategy == Strategy::kGroup) json["group_size"] = args.group_size;
  if (args.strategy == Strategy::kBlock) {
    json["block_structure"] = Json::array({args.block_rows, args.block_cols});
  }
  json["dynamic"] = args.dynamic;
  return json;
}

std::string Describe(const QuantArgs& args) {
  std::string text = fmt::format("{}{} {} {}", args.type == QuantType::kFloat ? "fp" : "int",
                                 args.num_bits, args.symmetric ? "sym" : "asym",
                                 NameOf(args.strategy));
  if (args.strategy == Strategy::kGroup) text += fmt::format(" {}", args.group_size);
  if (args.strategy == Strategy::kBlock) {
    text += fmt::format(" {}x{}", args.block_rows, args.block_cols);
  }
  if (args.dynamic) text += " dynamic";
  return text;
}

std::string Describe(const SchemeArgs& args) {
  return fmt::format("weights {}, activations {}", Describe(args.weights),
                     args.input ? Describe(*args.input) : "16 bit");
}

}  // namespace octavo
