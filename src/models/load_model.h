// SPDX-License-Identifier: Apache-2.0
// From a path to a model that can run.
#pragma once

#include <memory>
#include <string>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "models/model.h"
#include "models/weight_loader.h"
#include "octavo/status.h"

namespace octavo {

// Opens a Hugging Face folder or a GGUF file, finds its architecture and loads every weight. The
// error names the file, the tensor or the field.
Result<std::shared_ptr<const Model>> LoadModel(const std::string& path, const LoadOptions& options,
                                               IsaLevel isa, ThreadPool& pool);

// The same for a checkpoint that is open already.
Result<std::shared_ptr<const Model>> LoadModel(std::shared_ptr<const Checkpoint> checkpoint,
                                               const LoadOptions& options, IsaLevel isa,
                                               ThreadPool& pool);

}  // namespace octavo
