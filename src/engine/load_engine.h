// SPDX-License-Identifier: Apache-2.0
// From options to everything an engine owns: model, runner, KV pool of the right size, texts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine_core.h"
#include "engine/model_executor.h"
#include "engine/model_text.h"
#include "octavo/engine.h"

namespace octavo {

struct LoadedEngine {
  EngineOptions options;  // resolved
  ModelInfo info;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<ModelText> text;
  std::unique_ptr<ModelExecutor> executor;
  EngineCoreOptions core_options;
  std::string hash_context;  // what a KV page depends on besides tokens
  std::vector<LayerPrecision> precision;
};

Result<LoadedEngine> LoadEngine(const EngineOptions& options,
                                const std::function<void(const LoadProgress&)>& progress);

}  // namespace octavo
