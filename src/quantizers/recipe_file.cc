// SPDX-License-Identifier: Apache-2.0
// Walks stages, modifiers and groups; every key is either used or refused.
#include "quantizers/recipe_file.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/yaml.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

using Kind = YamlNode::Kind;

constexpr std::string_view kSmoothQuant = "SmoothQuantModifier";
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 20;

// A modifier that makes groups, and the algorithm it stands for.
struct Modifier {
  std::string_view name;
  std::string_view algorithm;
};
constexpr std::array<Modifier, 3> kModifiers = {{
    {"QuantizationModifier", kRoundToNearest},
    {"GPTQModifier", "gptq"},
    {"AWQModifier", "awq"},
}};

// Keys of llm-compressor that would mean something else here, and what to do about them.
struct Refused {
  std::string_view key;
  std::string_view why;
};
constexpr std::array<Refused, 6> kRefused = {{
    {"mappings", "what is smoothed with what comes from the model's architecture; leave it out"},
    {"sequential_targets", "layers always run one after the other; leave it out"},
    {"kv_cache_scheme", "the KV cache's type is chosen when the model is served"},
    {"output_activations", "no engine runs quantized outputs"},
    {"duo_scaling", "AWQ tries scales with and without weights (duo_scaling: both); leave it out"},
    {"offload_device", "everything runs in main memory; leave it out"},
}};

// The parser of one file; its name is the context of every error.
class RecipeParser {
 public:
  Status Parse(const YamlNode& root) {
    if (root.kind != Kind::kMap) return Wrong(root, "the recipe", "a map of stages or modifiers");
    OCTAVO_RETURN_IF_ERROR(ParseStage(root, /*top=*/true));
    OCTAVO_RETURN_IF_ERROR(AddSmoothing());
    if (!groups_.empty()) return Status::Ok();
    return InvalidArgument("line 1: the recipe has no QuantizationModifier, GPTQModifier or AWQModifier");
  }
  std::vector<RecipeGroup> Take() { return std::move(groups_); }

 private:
  static Status At(const YamlNode& node, std::string_view what) {
    return InvalidArgument(fmt::format("line {}: {}", node.line, what));
  }
  static Status Wrong(const YamlNode& node, std::string_view key, std::string_view want) {
    return At(node, fmt::format("{} is {}, want {}", key, Describe(node), want));
  }
  static Status Unknown(const YamlNode& value, std::string_view where, std::string_view key,
                        std::string_view known) {
    for (const Refused& refused : kRefused) {
      if (refused.key == key) {
        return At(value, fmt::format("{}: '{}' is not supported: {}", where, key, refused.why));
      }
    }
    return At(value, fmt::format("{}: unknown key '{:.60}' (want one of {})", where, key, known));
  }

  // Stages ("quant_stage") hold lists of modifiers ("quant_modifiers"), which hold modifiers; the outer
  // levels may be left out.
  Status ParseStage(const YamlNode& stage, bool top) {
    for (const auto& [key, value] : stage.members) {
      if (key.ends_with("_modifiers")) {
        OCTAVO_RETURN_IF_ERROR(ParseModifiers(value, key));
      } else if (top && key.ends_with("_stage")) {
        if (value.kind != Kind::kMap) return Wrong(value, key, "a map");
        OCTAVO_RETURN_IF_ERROR(ParseStage(value, false));
      } else {
        OCTAVO_RETURN_IF_ERROR(ParseModifier(key, value));
      }
    }
    return Status::Ok();
  }

  // A map of modifiers, or a list of maps with one each, where a name may come twice.
  Status ParseModifiers(const YamlNode& node, const std::string& key) {
    const std::vector<YamlNode> alone = {node};
    const std::vector<YamlNode>& maps = node.kind == Kind::kList ? node.items : alone;
    for (const YamlNode& map : maps) {
      if (map.kind != Kind::kMap) return Wrong(map, key, "a map of modifiers");
      for (const auto& [name, value] : map.members) {
        OCTAVO_RETURN_IF_ERROR(ParseModifier(name, value));
      }
    }
    return Status::Ok();
  }

  Status ParseModifier(const std::string& name, const YamlNode& node) {
    if (name == kSmoothQuant) return ParseSmoothQuant(node);
    for (const Modifier& modifier : kModifiers) {
      if (modifier.name == name) return ParseQuantization(modifier, node);
    }
    return At(node, fmt::format("unknown key '{:.60}' (want a stage, QuantizationModifier, GPTQModifier, "
                                "AWQModifier or SmoothQuantModifier)",
                                name));
  }

  Status ParseSmoothQuant(const YamlNode& node) {
    smoothing_line_ = node.line;
    if (node.is_null()) return Status::Ok();
    if (node.kind != Kind::kMap) return Wrong(node, kSmoothQuant, "a map");
    for (const auto& [key, value] : node.members) {
      if (key != "smoothing_strength") return Unknown(value, kSmoothQuant, key, "smoothing_strength");
      OCTAVO_ASSIGN_OR_RETURN(smoothing_strength_, Number(value, key, 0, 1));
    }
    return Status::Ok();
  }

  // One of kModifiers: defaults for its groups, and either a scheme for `targets` or config_groups.
  Status ParseQuantization(const Modifier& modifier, const YamlNode& node) {
    if (node.kind != Kind::kMap) return Wrong(node, modifier.name, "a map");
    RecipeGroup base;
    base.name = fmt::format("line {}: {}", node.line, modifier.name);
    base.algorithm = modifier.algorithm;
    const YamlNode* schemes = nullptr;
    const YamlNode* config_groups = nullptr;
    for (const auto& [key, value] : node.members) {
      if (value.is_null() && key != "actorder") continue;
      if (key == "config_groups") {
        config_groups = &value;
      } else if (key == "scheme") {
        schemes = &value;
      } else {
        OCTAVO_ASSIGN_OR_RETURN(const bool known, ParseCommonKey(key, value, base));
        if (!known) {
          return Unknown(value, modifier.name, key,
                         "targets, ignore, scheme, config_groups, group_size, dampening_frac, actorder, "
                         "block_size");
        }
      }
    }
    if ((schemes == nullptr) == (config_groups == nullptr)) {
      return At(node, fmt::format("{}: want one of 'scheme' and 'config_groups'", modifier.name));
    }
    return schemes != nullptr ? AddSchemes(*schemes, base) : AddGroups(*config_groups, base);
  }

  // scheme: W4A16, or {W4A16: [targets], W8A8: [targets]}.
  Status AddSchemes(const YamlNode& node, const RecipeGroup& base) {
    if (node.kind != Kind::kMap) {
      RecipeGroup group = base;
      OCTAVO_ASSIGN_OR_RETURN(group.scheme, SchemeName(node));
      groups_.push_back(std::move(group));
      return Status::Ok();
    }
    for (const auto& [scheme, targets] : node.members) {
      RecipeGroup group = base;
      group.scheme = Canonical(scheme);
      OCTAVO_ASSIGN_OR_RETURN(group.targets, Strings(targets, scheme));
      groups_.push_back(std::move(group));
    }
    return Status::Ok();
  }

  Status AddGroups(const YamlNode& node, const RecipeGroup& base) {
    if (node.kind != Kind::kMap) return Wrong(node, "config_groups", "a map");
    for (const auto& [name, value] : node.members) {
      RecipeGroup group = base;
      group.name = fmt::format("line {}: {:.60}", value.line, name);
      if (value.kind == Kind::kList) {  // {W4A16: [targets]}: the key is a preset
        group.scheme = Canonical(name);
        OCTAVO_ASSIGN_OR_RETURN(group.targets, Strings(value, name));
      } else {
        OCTAVO_RETURN_IF_ERROR(ParseGroup(name, value, group));
      }
      groups_.push_back(std::move(group));
    }
    return Status::Ok();
  }

  Status ParseGroup(const std::string& name, const YamlNode& node, RecipeGroup& group) {
    if (node.kind != Kind::kMap) return Wrong(node, name, "a map or a list of targets");
    const YamlNode* weights = nullptr;
    const YamlNode* input = nullptr;
    for (const auto& [key, value] : node.members) {
      if (value.is_null() && key != "actorder") continue;
      if (key == "weights") {
        weights = &value;
      } else if (key == "input_activations") {
        input = &value;
      } else if (key == "scheme") {
        OCTAVO_ASSIGN_OR_RETURN(group.scheme, SchemeName(value));
      } else if (key == "algorithm") {
        OCTAVO_ASSIGN_OR_RETURN(group.algorithm, String(value, key));
      } else if (key == "smoothing_strength") {
        OCTAVO_ASSIGN_OR_RETURN(group.smoothing_strength, Number(value, key, 0, 1));
      } else {
        OCTAVO_ASSIGN_OR_RETURN(const bool known, ParseCommonKey(key, value, group));
        if (!known) {
          return Unknown(value, name, key,
                         "targets, scheme, weights, input_activations, ignore, group_size, algorithm, "
                         "smoothing_strength, dampening_frac, actorder, block_size");
        }
      }
    }
    if ((weights == nullptr) == group.scheme.empty()) {
      return At(node, fmt::format("{}: want one of 'scheme' and 'weights'", name));
    }
    if (weights != nullptr) return SchemeFromArgs(*weights, input, group);
    if (input == nullptr) return Status::Ok();
    return At(*input, fmt::format("{}: 'input_activations' goes with 'weights', not with 'scheme'", name));
  }

  // Keys that modifiers and groups share. False: not one of them.
  static Result<bool> ParseCommonKey(const std::string& key, const YamlNode& value,
                                     RecipeGroup& group) {
    if (key == "targets") {
      OCTAVO_ASSIGN_OR_RETURN(group.targets, Strings(value, key));
    } else if (key == "ignore") {
      OCTAVO_ASSIGN_OR_RETURN(const std::vector<std::string> more, Strings(value, key));
      group.ignore.insert(group.ignore.end(), more.begin(), more.end());
    } else if (key == "group_size") {
      OCTAVO_ASSIGN_OR_RETURN(const double size, Number(value, key, 16, 1 << 16));
      group.group_size = static_cast<int>(size);
    } else if (key == "dampening_frac") {
      OCTAVO_ASSIGN_OR_RETURN(group.gptq.damping, Number(value, key, 1e-6, 1));
    } else if (key == "actorder") {
      OCTAVO_ASSIGN_OR_RETURN(group.gptq.act_order, ActOrder(value));
    } else if (key == "block_size") {  // GPTQ's unit of work: changes its speed elsewhere, nothing here
      OCTAVO_RETURN_IF_ERROR(Number(value, key, 1, 1 << 20).status());
    } else {
      return false;
    }
    return true;
  }

  // Orders of equal result: "static" and its old name "weight". "group" would need an index per column.
  static Result<bool> ActOrder(const YamlNode& value) {
    if (value.is_null()) return false;
    if (value.kind == Kind::kScalar && value.scalar.is_boolean()) return value.scalar.get<bool>();
    OCTAVO_ASSIGN_OR_RETURN(const std::string name, String(value, "actorder"));
    if (name == "static" || name == "weight") return true;
    return At(value, fmt::format("actorder '{:.40}' is not supported (want static, weight or false)", name));
  }

  static std::string Canonical(const std::string& scheme) {
    return scheme == "UNQUANTIZED" || scheme == "BF16" ? std::string(kScheme_dense.name) : scheme;
  }

  static Result<std::string> SchemeName(const YamlNode& value) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string name, String(value, "scheme"));
    return Canonical(name);
  }

  // The scheme of compressed-tensors' args.
  static Status SchemeFromArgs(const YamlNode& weights, const YamlNode* input, RecipeGroup& group) {
    SchemeArgs args;
    OCTAVO_RETURN_IF_ERROR(ParseArgs(weights, group, args.weights));
    if (input != nullptr) {
      args.input.emplace();
      OCTAVO_RETURN_IF_ERROR(ParseArgs(*input, group, *args.input));
    }
    const auto scheme = MatchScheme(args);
    SchemeArgs written = scheme.ok() ? (*scheme)->args : SchemeArgs();
    if (written.weights.strategy == args.weights.strategy) {
      written.weights.group_size = args.weights.group_size;
    }
    if (!scheme.ok() || !(*scheme)->writable() || written != args) {
      return At(weights, fmt::format("no scheme writes {} (octavo list schemes)", Describe(args)));
    }
    group.scheme = (*scheme)->name;
    if (args.weights.strategy == Strategy::kGroup) group.group_size = args.weights.group_size;
    return Status::Ok();
  }

  // llm-compressor's args may say how GPTQ orders columns and which observer finds scales.
  static Status ParseArgs(const YamlNode& node, RecipeGroup& group, QuantArgs& args) {
    if (node.kind != Kind::kMap) return Wrong(node, "weights or input_activations", "a map");
    Json json = ToJson(node);
    if (const YamlNode* order = node.Find("actorder")) {
      OCTAVO_ASSIGN_OR_RETURN(group.gptq.act_order, ActOrder(*order));
      json.erase("actorder");
    }
    if (const YamlNode* observer = node.Find("observer")) {
      OCTAVO_ASSIGN_OR_RETURN(const std::string name, String(*observer, "observer"));
      if (!name.ends_with("minmax")) {
        return At(*observer, fmt::format("observer '{:.40}' is not supported (want minmax)", name));
      }
    }
    auto parsed = ParseQuantArgs(json);
    if (!parsed.ok()) return std::move(parsed).status().WithContext(fmt::format("line {}", node.line));
    args = *parsed;
    return Status::Ok();
  }

  static Result<std::string> String(const YamlNode& value, std::string_view key) {
    if (value.kind == Kind::kScalar && value.scalar.is_string()) return value.scalar.get<std::string>();
    return Wrong(value, key, "a string");
  }

  static Result<double> Number(const YamlNode& value, std::string_view key, double low, double high) {
    if (value.kind != Kind::kScalar || !value.scalar.is_number()) return Wrong(value, key, "a number");
    const auto number = value.scalar.get<double>();
    if (number >= low && number <= high) return number;
    return At(value, fmt::format("{} is {}, want {} to {}", key, number, low, high));
  }

  // A list of strings, or a single one.
  static Result<std::vector<std::string>> Strings(const YamlNode& value, std::string_view key) {
    const std::vector<YamlNode> alone = {value};
    const std::vector<YamlNode>& items = value.kind == Kind::kList ? value.items : alone;
    std::vector<std::string> strings;
    for (const YamlNode& item : items) {
      OCTAVO_ASSIGN_OR_RETURN(std::string text, String(item, key));
      strings.push_back(std::move(text));
    }
    return strings;
  }

  // SmoothQuant is not a group: it changes the algorithm of those with 8-bit activations.
  Status AddSmoothing() {
    if (!smoothing_line_) return Status::Ok();
    int smoothed = 0;
    for (RecipeGroup& group : groups_) {
      const Scheme* scheme = FindScheme(group.scheme);
      if (scheme == nullptr || !scheme->args.input) continue;
      ++smoothed;
      if (group.algorithm == kRoundToNearest) {
        group.algorithm = "smoothquant";
      } else if (group.algorithm == "gptq") {
        group.algorithm = "smoothquant+gptq";
      }
      if (group.smoothing_strength < 0) group.smoothing_strength = smoothing_strength_;
    }
    if (smoothed > 0) return Status::Ok();
    return InvalidArgument(fmt::format(
        "line {}: {}: no group of the recipe has 8-bit activations to smooth", *smoothing_line_,
        kSmoothQuant));
  }

  std::vector<RecipeGroup> groups_;
  std::optional<int> smoothing_line_;
  double smoothing_strength_ = -1;
};

}  // namespace

Result<QuantizeRecipe> ParseRecipe(std::string_view text, const std::string& name) {
  const auto in_file = [&](Status status) { return std::move(status).WithContext(name); };
  auto root = ParseYaml(text);
  if (!root.ok()) return in_file(std::move(root).status());
  RecipeParser parser;
  if (Status status = parser.Parse(*root); !status.ok()) return in_file(std::move(status));
  QuantizeRecipe recipe;
  recipe.groups = parser.Take();
  for (RecipeGroup& group : recipe.groups) group.name = name + ": " + group.name;
  recipe.source = {{"file", name}, {"text", text}};
  return recipe;
}

Result<QuantizeRecipe> LoadRecipe(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return ParseRecipe(text, std::filesystem::path(path).filename().string());
}

}  // namespace octavo
