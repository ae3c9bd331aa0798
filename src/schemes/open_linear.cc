// SPDX-License-Identifier: Apache-2.0
// Opens stored modules through their scheme.
#include "schemes/open_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace octavo {
namespace {

// A weight in plain floats without anything that scales it.
bool IsPlainFloat(const Checkpoint& checkpoint, const std::string& module) {
  const StoredTensor* weight = checkpoint.Find(module + ".weight");
  if (weight == nullptr) return false;
  for (const std::string_view other : {".weight_scale", ".qweight", ".weight.absmax"}) {
    if (checkpoint.Find(module + std::string(other)) != nullptr) return false;
  }
  return weight->dtype == DType::kBF16 || weight->dtype == DType::kF16 ||
         weight->dtype == DType::kF32;
}

// "llm_int8:5" -> "llm_int8" and 5.
Result<std::optional<float>> SplitThreshold(std::string_view& online_name) {
  constexpr std::string_view kPrefix = "llm_int8:";
  std::optional<float> threshold;
  if (!online_name.starts_with(kPrefix)) return threshold;
  const std::string_view text = online_name.substr(kPrefix.size());
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < 0) {
    return InvalidArgument(
        fmt::format("--quantization '{}': want a threshold of 0 or more after the colon", online_name));
  }
  threshold = value;
  online_name = kPrefix.substr(0, kPrefix.size() - 1);
  return threshold;
}

}  // namespace

Result<LinearLoader> LinearLoader::Create(const Checkpoint& checkpoint,
                                          std::string_view online_name, ThreadPool* pool) {
  LinearLoader loader;
  loader.checkpoint_ = &checkpoint;
  loader.pool_ = pool;
  OCTAVO_ASSIGN_OR_RETURN(loader.config_, QuantizationConfig::FromCheckpoint(checkpoint));
  if (online_name.empty()) return loader;
  OCTAVO_ASSIGN_OR_RETURN(loader.online_.outlier_threshold, SplitThreshold(online_name));
  const Scheme* scheme = FindOnlineScheme(online_name);
  if (scheme == nullptr) {
    return InvalidArgument(
        fmt::format("--quantization '{}': want one of {}", online_name, OnlineSchemeNames()));
  }
  if (loader.config_.quantized()) {
    return FailedPrecondition(fmt::format("{}: is quantized already ({}), cannot apply '{}'",
                                          checkpoint.path(), loader.config_.method(), online_name));
  }
  loader.online_.scheme = scheme;
  if (scheme->args.weights.strategy == Strategy::kGroup) {
    std::vector<std::string> modules = LinearModules(checkpoint);
    std::erase(modules, "lm_head");
    const int wanted = scheme->args.weights.group_size;
    loader.online_.group_size = ChooseGroupSize(checkpoint, modules, wanted);
    if (loader.online_.group_size == 0) {
      return InvalidArgument(fmt::format("{}: no group of {} or fewer divides every layer's columns",
                                         checkpoint.path(), wanted));
    }
  }
  return loader;
}

Result<std::unique_ptr<WeightSource>> LinearLoader::Open(const std::string& module,
                                                         std::string_view module_class) const {
  OCTAVO_ASSIGN_OR_RETURN(const ModuleScheme resolved, config_.Resolve(module, module_class));
  StoredModule stored{.checkpoint = checkpoint_,
                      .name = module,
                      .scheme = resolved.scheme,
                      .args = resolved.args};
  if (config_.dense_by_tensors() && IsPlainFloat(*checkpoint_, module)) {
    stored.scheme = &kScheme_dense;
  }
  return stored.scheme->open(stored);
}

Result<std::unique_ptr<WeightSource>> LinearLoader::OpenLinear(const std::string& module) const {
  if (online_.scheme != nullptr && module != "lm_head") {
    return OpenOnline(*checkpoint_, module, online_, pool_);
  }
  return Open(module, "Linear");
}

Result<std::unique_ptr<WeightSource>> LinearLoader::OpenEmbedding(const std::string& module) const {
  return Open(module, "Embedding");
}

}  // namespace octavo
