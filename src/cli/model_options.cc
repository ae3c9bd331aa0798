// SPDX-License-Identifier: Apache-2.0
// Shared model options and loading for commands that score text.
#include "cli/model_options.h"

#include <string>
#include <utility>
#include <vector>

#include "cli/hub_model.h"
#include "cli/progress_bar.h"
#include "kernels/attention/kv_dtype_name.h"
#include "models/load_model.h"

namespace octavo {

void AddKvDTypeOption(CLI::App& app, std::string& kv_cache_dtype) {
  std::vector<std::string> names = {"auto"};
  for (const auto& [name, dtype] : kKvDTypeNames) names.emplace_back(name);
  app.add_option("--kv-cache-dtype", kv_cache_dtype, "Type of the KV cache")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
}

KvDType ChooseKvDType(const std::string& kv_cache_dtype, const std::string& dtype) {
  const KvDType fallback = dtype == "float32" ? KvDType::kF32 : KvDType::kBf16;
  return FindKvDType(kv_cache_dtype).value_or(fallback);
}

void AddGgufActivationsOption(CLI::App& app, std::string& value) {
  app.add_option("--gguf-activations", value,
                 "What a GGUF file's blocks are multiplied with: int8 with a scale per 32 columns, or 16bit")
      ->check(CLI::IsMember({"int8", "16bit"}))
      ->capture_default_str();
}

void AddModelOptions(CLI::App& app, ModelOptions& options) {
  app.add_option("MODEL", options.model, "Hugging Face folder, GGUF file or hub name ORG/NAME")->required();
  app.add_option("--dtype", options.dtype, "Type of unquantized arithmetic")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--quantization", options.quantization,
                 "Quantize 16-bit weights while loading: fp8, int8, w4a16, qoq_g128, ...")
      ->type_name("SCHEME");
  app.add_option("--lm-head-dtype", options.lm_head_dtype,
                 "Type of the output projection (default: as in the checkpoint)")
      ->check(CLI::IsMember({"bf16", "int8", "int4"}));
  AddGgufActivationsOption(app, options.gguf_activations);
  AddKvDTypeOption(app, options.kv_cache_dtype);
  app.add_option("-t,--threads", options.threads, "Compute threads (default: one per CPU)")
      ->check(CLI::Range(1, 4096));
}

Result<ScoringModel> LoadForScoring(const ModelOptions& options, int64_t max_tokens) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  const bool f32 = options.dtype == "float32";
  ProgressBar bar({.label = "load", .unit = ProgressBar::Unit::kBytes});
  LoadOptions load;
  load.dtype = f32 ? ComputeDType::kFloat32 : ComputeDType::kBfloat16;
  load.quantization = options.quantization;
  load.lm_head_dtype = options.lm_head_dtype;
  load.gguf_activations = options.gguf_activations;
  load.max_model_len = max_tokens;
  load.progress = [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); };

  ScoringModel result;
  result.pool = std::make_unique<ThreadPool>(options.threads);
  OCTAVO_ASSIGN_OR_RETURN(auto model, LoadModel(path, load, isa, *result.pool));
  OCTAVO_ASSIGN_OR_RETURN(
      auto forcing, TeacherForcing::Create(std::move(model), max_tokens,
                                           ChooseKvDType(options.kv_cache_dtype, options.dtype),
                                           isa, *result.pool));
  result.forcing = std::make_unique<TeacherForcing>(std::move(forcing));
  return result;
}

}  // namespace octavo
