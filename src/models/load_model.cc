// SPDX-License-Identifier: Apache-2.0
// Opens a checkpoint, finds its architecture, loads its weights.
#include "models/load_model.h"

#include <fmt/format.h>

#include "io/hf_config.h"

namespace octavo {
namespace {

// The config of a model that has the range's layers and no others.
Status Narrow(const LayerRange& range, ModelConfig& config) {
  if (range.first < 0 || range.count < 0 || range.first > config.num_layers - range.count) {
    return InvalidArgument(fmt::format("layers {} to {} of {}", range.first,
                                       range.first + range.count, config.num_layers));
  }
  config.num_layers = range.count;
  const auto windows = config.layer_windows.begin();
  if (static_cast<int64_t>(config.layer_windows.size()) < range.first + range.count) {
    return Status::Ok();
  }
  config.layer_windows.assign(windows + range.first, windows + range.first + range.count);
  return Status::Ok();
}

}  // namespace

Result<std::shared_ptr<const Model>> LoadModel(std::shared_ptr<const Checkpoint> checkpoint,
                                               const LoadOptions& options, IsaLevel isa,
                                               ThreadPool& pool) {
  const auto load = [&]() -> Result<std::shared_ptr<const Model>> {
    OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
    OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
    OCTAVO_ASSIGN_OR_RETURN(ModelConfig model_config, arch->parse_config(config));
    if (options.only) OCTAVO_RETURN_IF_ERROR(Narrow(*options.only, model_config));
    OCTAVO_ASSIGN_OR_RETURN(WeightLoader loader,
                            WeightLoader::Create(checkpoint, options, isa, pool));
    OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                            arch->load(std::move(model_config), loader));
    return std::shared_ptr<const Model>(std::move(model));
  };
  auto model = load();
  if (!model.ok()) return std::move(model).status().WithContext(checkpoint->path());
  return model;
}

Result<std::shared_ptr<const Model>> LoadModel(const std::string& path, const LoadOptions& options,
                                               IsaLevel isa, ThreadPool& pool) {
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(path));
  return LoadModel(std::move(checkpoint), options, isa, pool);
}

}  // namespace octavo
