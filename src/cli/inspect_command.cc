// SPDX-License-Identifier: Apache-2.0
// `octavo inspect`: what is stored in a model, and what would be computed with it on this machine.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu_features.h"
#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/model_options.h"
#include "cli/report.h"
#include "io/checkpoint.h"
#include "io/hf_config.h"
#include "models/model.h"
#include "models/weight_loader.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

struct InspectOptions {
  std::string path;
  std::string dtype = "bfloat16";
  std::string quantization;
  std::string gguf_activations = "int8";
  bool tensors = false;
  bool layers = false;
  std::string json;
};

// "q4_1" blocks or "BF16".
std::string TypeOf(const StoredTensor& tensor) {
  return std::string(tensor.ggml_type ? InfoOf(*tensor.ggml_type).name : NameOf(tensor.dtype));
}

Json TensorRow(const std::string& name, const std::string& type, const Shape& shape, uint64_t bytes) {
  const auto dims = shape.dims();
  return {{"name", name},
          {"type", type},
          {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
          {"elements", shape.NumElements()},
          {"bytes", bytes}};
}

// Totals per type: {type, tensors, elements, bytes}.
Json SumByType(const Json& tensors) {
  std::map<std::string, std::array<uint64_t, 3>> sums;
  for (const Json& tensor : tensors) {
    std::array<uint64_t, 3>& sum = sums[tensor["type"].get<std::string>()];
    sum[0] += 1;
    sum[1] += tensor["elements"].get<uint64_t>();
    sum[2] += tensor["bytes"].get<uint64_t>();
  }
  Json rows = Json::array();
  for (const auto& [type, sum] : sums) {
    rows.push_back({{"type", type}, {"tensors", sum[0]}, {"elements", sum[1]}, {"bytes", sum[2]}});
  }
  return rows;
}

void PrintTensors(const Json& tensors, bool each) {
  for (const Json& row : SumByType(tensors)) {
    fmt::print("  {:<8} {:>6} tensors {:>16} elements {:>12}\n", row["type"].get<std::string>(),
               row["tensors"].get<uint64_t>(), row["elements"].get<uint64_t>(),
               FormatBytes(row["bytes"].get<uint64_t>()));
  }
  if (!each) return;
  for (const Json& tensor : tensors) {
    fmt::print("  {:<64} {:<8} [{}]\n", tensor["name"].get<std::string>(),
               tensor["type"].get<std::string>(),
               fmt::join(tensor["shape"].get<std::vector<int64_t>>(), ", "));
  }
}

// The layer number in "model.layers.12.mlp.up_proj", for sorting; -1 when there is none.
int LayerNumber(const std::string& module) {
  for (size_t dot = module.find('.'); dot != module.npos; dot = module.find('.', dot + 1)) {
    const size_t end = module.find_first_not_of("0123456789", dot + 1);
    if (end != module.npos && end > dot + 1 && end - dot < 8 && module[end] == '.') {
      return std::stoi(module.substr(dot + 1, end - dot - 1));
    }
  }
  return -1;
}

// Names of the linear modules of the checkpoint, in execution order but for the slots of one layer.
std::vector<std::string> FindLinearModules(const Checkpoint& checkpoint, const ModelArch& arch) {
  std::set<std::string> found;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (module.find(".weight") != std::string::npos) continue;  // parts of a stored weight
    const WeightPattern* row = arch.Match(module);
    if (row != nullptr && row->quantizable) found.insert(module);
  }
  std::vector<std::string> modules(found.begin(), found.end());
  std::stable_sort(modules.begin(), modules.end(), [](const auto& a, const auto& b) {
    const auto key = [](int layer) { return layer < 0 ? INT_MAX : layer; };
    return key(LayerNumber(a)) < key(LayerNumber(b));
  });
  return modules;
}

// A calibrated scale of the checkpoint, by the name of its tensor.
struct StaticScale {
  std::string name;
  float value = 0;
};

struct Description {
  std::vector<LinearPart> parts;
  std::vector<StaticScale> scales;  // of activations and of the KV cache
};

Result<std::vector<StaticScale>> FindScales(const std::vector<LinearPart>& parts,
                                            const WeightLoader& loader, bool kv_cache) {
  constexpr std::string_view kKeys = ".k_proj";
  std::vector<StaticScale> scales;
  for (const LinearPart& part : parts) {
    if (part.input_scale > 0) scales.push_back({part.module + ".input_scale", part.input_scale});
    if (!kv_cache || !part.module.ends_with(kKeys)) continue;
    const std::string attention = part.module.substr(0, part.module.size() - kKeys.size());
    OCTAVO_ASSIGN_OR_RETURN(const WeightLoader::KvScales kv, loader.LoadKvScales(attention));
    scales.push_back({attention + ".k_scale", kv.k});
    scales.push_back({attention + ".v_scale", kv.v});
  }
  return scales;
}

Result<Description> Describe(std::shared_ptr<const Checkpoint> checkpoint,
                             const ModelArch& arch, bool kv_cache, const InspectOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  ThreadPool pool(1);
  LoadOptions load;
  load.dtype = options.dtype == "float32" ? ComputeDType::kFloat32 : ComputeDType::kBfloat16;
  load.quantization = options.quantization;
  load.gguf_activations = options.gguf_activations;
  OCTAVO_ASSIGN_OR_RETURN(const WeightLoader loader,
                          WeightLoader::Create(checkpoint, load, isa, pool));
  std::vector<LinearPart> parts;
  bool has_head = false;
  for (const std::string& module : FindLinearModules(*checkpoint, arch)) {
    const bool head = arch.Match(module)->slot == "lm_head";
    has_head |= head;
    OCTAVO_ASSIGN_OR_RETURN(LinearPart part, head ? loader.DescribeLmHead(module, module)
                                                  : loader.DescribeLinear(module));
    parts.push_back(std::move(part));
  }
  for (const WeightPattern& row : arch.weight_map) {  // a tied head reads the embedding
    if (has_head || row.slot != "embed_tokens") continue;
    OCTAVO_ASSIGN_OR_RETURN(LinearPart part,
                            loader.DescribeLmHead("lm_head", std::string(row.pattern)));
    part.module = "lm_head (tied)";
    parts.push_back(std::move(part));
  }
  OCTAVO_ASSIGN_OR_RETURN(std::vector<StaticScale> scales, FindScales(parts, loader, kv_cache));
  return Description{std::move(parts), std::move(scales)};
}

Json LinearRow(const LinearPart& part) {
  return {{"module", part.module},
          {"shape", {part.n, part.k}},
          {"scheme", part.scheme},
          {"bits_per_weight", part.stored_bits},
          {"activation", NameOf(part.activation)},
          {"kernel", part.kernel},
          {"note", part.note}};
}

// "model.layers.*.mlp.up_proj", for what differs only in the layer number.
std::string AnyLayer(std::string module) {
  const std::string number = fmt::format(".{}.", LayerNumber(module));
  const size_t at = module.find(number);
  return at == module.npos ? module : module.replace(at, number.size(), ".*.");
}

// The same scales of all layers in one row, smallest to largest.
void PrintScales(const std::vector<StaticScale>& scales, bool each) {
  if (scales.empty()) return;
  std::vector<std::pair<std::string, std::vector<float>>> rows;
  for (const StaticScale& scale : scales) {
    const std::string name = each ? scale.name : AnyLayer(scale.name);
    auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.first == name; });
    if (row == rows.end()) row = rows.insert(rows.end(), {name, {}});
    row->second.push_back(scale.value);
  }
  fmt::print("\n  {:>3}  {:<52} {}\n", "", "static scales", "range");
  for (const auto& [name, values] : rows) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    fmt::print("  {:>3}  {:<52} {}\n", each ? "" : std::to_string(values.size()), name,
               *low == *high ? fmt::format("{:.4g}", *low) : fmt::format("{:.4g} to {:.4g}", *low, *high));
  }
}

// Rows that differ only in the layer number become one, with a count.
std::vector<std::pair<Json, int>> MergeLayers(const Json& linears) {
  std::vector<std::pair<Json, int>> merged;
  for (Json row : linears) {
    row["module"] = AnyLayer(row["module"].get<std::string>());
    const auto same = std::find_if(merged.begin(), merged.end(),
                                   [&](const auto& other) { return other.first == row; });
    if (same != merged.end()) {
      ++same->second;
    } else {
      merged.emplace_back(std::move(row), 1);
    }
  }
  return merged;
}

void PrintLinears(const Json& linears, bool each) {
  std::vector<std::pair<Json, int>> rows;
  if (each) {
    for (const Json& row : linears) rows.emplace_back(row, 1);
  } else {
    rows = MergeLayers(linears);
  }
  std::set<std::string> notes;
  fmt::print("  {:>3}  {:<40} {:<16} {:<14} {:>5}  {:<10} {}\n", "", "linear layers", "[n, k]",
             "scheme", "bits", "activation", "kernel");
  for (const auto& [row, count] : rows) {
    fmt::print("  {:>3}  {:<40} {:<16} {:<14} {:>5.2f}  {:<10} {}\n", each ? "" : std::to_string(count),
               row["module"].get<std::string>(),
               fmt::format("[{}]", fmt::join(row["shape"].get<std::vector<int64_t>>(), ", ")),
               row["scheme"].get<std::string>(), row["bits_per_weight"].get<double>(),
               row["activation"].get<std::string>(), row["kernel"].get<std::string>());
    notes.insert(row["note"].get<std::string>());
  }
  notes.erase("");
  for (const std::string& note : notes) fmt::print("  note: {}\n", note);
}

Json Totals(const Json& tensors) {
  uint64_t elements = 0;
  uint64_t bytes = 0;
  for (const Json& tensor : tensors) {
    elements += tensor["elements"].get<uint64_t>();
    bytes += tensor["bytes"].get<uint64_t>();
  }
  return {{"tensors", tensors.size()}, {"elements", elements}, {"bytes", bytes}};
}

Status InspectSafetensors(const InspectOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const SafetensorsReader file, SafetensorsReader::Open(options.path));
  Json tensors = Json::array();
  for (const SafetensorsEntry& entry : file.tensors()) {
    tensors.push_back(
        TensorRow(entry.name, std::string(NameOf(entry.dtype)), entry.shape, entry.bytes));
  }
  if (!JsonOnStdout(options.json)) {
    fmt::print("{}\n", options.path);
    for (const auto& [key, value] : file.metadata()) fmt::print("  {} = {}\n", key, value);
    PrintTensors(tensors, /*each=*/true);
  }
  return WriteJsonReport(options.json, {{"path", options.path},
                                        {"totals", Totals(tensors)},
                                        {"tensors", tensors}});
}

Status InspectModel(const InspectOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint,
                          Checkpoint::Open(options.path));
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
  OCTAVO_ASSIGN_OR_RETURN(const ModelConfig model, arch->parse_config(config));
  OCTAVO_ASSIGN_OR_RETURN(const auto quantization, QuantizationConfig::FromCheckpoint(*checkpoint));
  OCTAVO_ASSIGN_OR_RETURN(
      const Description description,
      Describe(checkpoint, *arch, quantization.kv_cache().has_value(), options));

  Json tensors = Json::array();
  for (const StoredTensor& tensor : checkpoint->tensors()) {
    tensors.push_back(TensorRow(tensor.name, TypeOf(tensor), tensor.shape, tensor.bytes));
  }
  Json linears = Json::array();
  for (const LinearPart& part : description.parts) linears.push_back(LinearRow(part));
  Json scales = Json::array();
  for (const StaticScale& scale : description.scales) {
    scales.push_back({{"name", scale.name}, {"value", scale.value}});
  }
  const std::string method = checkpoint->is_gguf()       ? "gguf"
                             : quantization.quantized() ? quantization.method()
                                                        : "none";
  const Json totals = Totals(tensors);
  if (!JsonOnStdout(options.json)) {
    fmt::print("{}\n", options.path);
    fmt::print("  {} ({}): {} layers, hidden {}, {} heads, {} KV heads of {}, vocabulary {}\n",
               model.architecture, arch->name, model.num_layers, model.hidden_size, model.num_heads,
               model.num_kv_heads, model.head_dim, model.vocab_size);
    fmt::print("  quantization: {}; {} in {} tensors\n\n", method,
               FormatBytes(totals["bytes"].get<uint64_t>()), totals["tensors"].get<size_t>());
    PrintTensors(tensors, options.tensors);
    fmt::print("\n");
    PrintLinears(linears, options.layers);
    PrintScales(description.scales, options.layers);
  }
  return WriteJsonReport(options.json, {{"path", options.path},
                                        {"architecture", model.architecture},
                                        {"arch", arch->name},
                                        {"num_layers", model.num_layers},
                                        {"hidden_size", model.hidden_size},
                                        {"vocab_size", model.vocab_size},
                                        {"quantization", method},
                                        {"totals", totals},
                                        {"types", SumByType(tensors)},
                                        {"linears", linears},
                                        {"static_scales", scales},
                                        {"tensors", tensors}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  app.add_option("PATH", options->path, "Model folder, GGUF file, hub name or a single .safetensors file")
      ->required();
  app.add_flag("--tensors", options->tensors, "List every tensor");
  app.add_flag("--layers", options->layers, "List every linear layer instead of one per kind");
  app.add_option("--dtype", options->dtype, "Type of unquantized arithmetic")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--quantization", options->quantization,
                 "As if the model were loaded with this online scheme")
      ->type_name("SCHEME");
  AddGgufActivationsOption(app, options->gguf_activations);
  AddJsonOption(app, options->json);
  return [options]() -> Status {
    OCTAVO_ASSIGN_OR_RETURN(options->path, ResolveModel(options->path));
    const bool file = options->path.ends_with(".safetensors");
    return file ? InspectSafetensors(*options) : InspectModel(*options);
  };
}

}  // namespace

extern const Command kCommand_inspect_command = {
    "inspect", CommandGroup::kLook, "Show tensors, schemes and the kernels that would run",
    &Configure};

}  // namespace octavo
