// SPDX-License-Identifier: Apache-2.0
// What becomes of each tensor of a checkpoint, decided before the first byte is read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "quantizers/module_choice.h"
#include "quantizers/quantize_checkpoint.h"
#include "schemes/scheme.h"

namespace octavo {

// A source tensor and the tensors written for it.
struct PlannedTensor {
  const StoredTensor* source = nullptr;
  std::optional<TargetModule> module;  // set: quantized; else copied (GGUF: rounded to bf16)
  const ModuleRecipe* recipe = nullptr;  // set with `module`; of QuantizePlan::choice
  std::vector<TensorSpec> outputs;
};

struct PlannedShard {
  std::string file_name;
  std::vector<PlannedTensor> tensors;  // in the source's file order
};

struct QuantizePlan {
  ModuleChoice choice;
  std::vector<PlannedShard> shards;
  QuantizeResult summary;  // all but times and resumed bytes
};

// Errors: as QuantizeCheckpoint. The checkpoint must outlive the plan.
Result<QuantizePlan> MakeQuantizePlan(const QuantizeOptions& options, const Checkpoint& checkpoint);

// Where a layer's KV scales are stored. They are written with the module that makes the keys; nullopt
// for all others.
struct KvScaleNames {
  std::string k;
  std::string v;
};
std::optional<KvScaleNames> KvScalesOf(const std::string& module);

// E4M3 with one scale per layer: the only scheme for a KV cache that engines read.
QuantArgs KvCacheArgs();

// Whether quantizing runs samples through the model: for an algorithm, or for scales of activations or
// of the KV cache.
bool NeedsCalibration(const QuantizePlan& plan, const QuantizeOptions& options);

// "quantization_config" of the result: one group of config_groups per stored form.
Json MakeQuantizationConfig(const QuantizePlan& plan, const QuantizeOptions& options);

uint64_t BytesOfSpecs(const std::vector<TensorSpec>& specs);

// The tensor as it is written when it is not quantized: its own type, bf16 from a GGUF.
TensorSpec CopiedSpec(const Checkpoint& checkpoint, const StoredTensor& tensor);

}  // namespace octavo
