// SPDX-License-Identifier: Apache-2.0
// `octavo dequantize`: writes the values of every linear layer, for comparison with other programs.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/progress_bar.h"
#include "io/hf_config.h"
#include "io/safetensors_writer.h"
#include "models/model.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

struct DequantizeOptions {
  std::string model;
  std::string output;
};

using Linears = std::vector<std::pair<std::string, std::unique_ptr<WeightSource>>>;

Result<Linears> OpenLinears(const Checkpoint& checkpoint) {
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint.config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
  OCTAVO_ASSIGN_OR_RETURN(const LinearLoader loader, LinearLoader::Create(checkpoint));
  Linears linears;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (module.find(".weight") != std::string::npos) continue;  // parts of a stored weight
    const WeightPattern* row = arch->Match(module);
    if (row == nullptr || !row->quantizable) continue;
    const auto same = [&module](const auto& linear) { return linear.first == module; };
    if (std::any_of(linears.begin(), linears.end(), same)) continue;
    OCTAVO_ASSIGN_OR_RETURN(auto source, loader.OpenLinear(module));
    linears.emplace_back(module, std::move(source));
  }
  return linears;
}

Status RunDequantize(const DequantizeOptions& options) {
  constexpr int64_t kRows = 64;
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(path));
  OCTAVO_ASSIGN_OR_RETURN(const Linears linears, OpenLinears(*checkpoint));
  std::vector<TensorSpec> specs;
  for (const auto& [module, source] : linears) {
    specs.push_back({module + ".weight", DType::kF32, Shape{source->spec().n, source->spec().k}});
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto writer, SafetensorsWriter::Create(options.output, specs, {}));
  ProgressBar bar({.label = "dequantize", .unit = ProgressBar::Unit::kBytes});
  uint64_t done = 0;
  std::vector<float> values;
  for (const auto& [module, source] : linears) {
    const WeightSpec& spec = source->spec();
    for (int64_t row = 0; row < spec.n; row += kRows) {
      const int64_t count = std::min(kRows, spec.n - row);
      values.resize(static_cast<size_t>(count * spec.k));
      OCTAVO_RETURN_IF_ERROR(source->DequantizeRows(row, count, values.data()));
      const auto bytes = std::as_bytes(std::span(values));
      OCTAVO_RETURN_IF_ERROR(writer->WriteAt(module + ".weight",
                                             static_cast<uint64_t>(row * spec.k) * sizeof(float), bytes));
      bar.Update(done += bytes.size(), writer->data_bytes());
    }
    OCTAVO_RETURN_IF_ERROR(writer->MarkComplete(module + ".weight"));
  }
  return writer->Finish();
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<DequantizeOptions>();
  app.add_option("MODEL", options->model, "Model folder or GGUF file")->required();
  app.add_option("-o,--output", options->output,
                 "safetensors file with MODULE.weight, f32 [out, in], of every linear layer")
      ->required()
      ->type_name("FILE");
  return [options] { return RunDequantize(*options); };
}

}  // namespace

extern const Command kCommand_dequantize_command = {
    "dequantize", CommandGroup::kDevelop, "Write the values of every linear layer in f32", &Configure};

}  // namespace octavo
