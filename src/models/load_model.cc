// SPDX-License-Identifier: Apache-2.0
// Opens a checkpoint, finds its architecture, loads its weights.
#include "models/load_model.h"

#include "io/hf_config.h"

namespace octavo {

Result<std::shared_ptr<const Model>> LoadModel(std::shared_ptr<const Checkpoint> checkpoint,
                                               const LoadOptions& options, IsaLevel isa,
                                               ThreadPool& pool) {
  const auto load = [&]() -> Result<std::shared_ptr<const Model>> {
    OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
    OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(config));
    OCTAVO_ASSIGN_OR_RETURN(ModelConfig model_config, arch->parse_config(config));
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
