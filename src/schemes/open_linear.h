// SPDX-License-Identifier: Apache-2.0
// From a module's name to its WeightSource: the one way in which models load matrices.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "octavo/status.h"
#include "schemes/quantization_config.h"
#include "schemes/weight_source.h"

namespace octavo {

// Quantization while loading, `--quantization NAME`.
struct OnlineQuantization {
  const Scheme* scheme = nullptr;
  // Columns per group for schemes with groups: the largest of 128, 64 and 32 that divides every
  // linear's columns, as `octavo quantize` takes.
  int group_size = 0;
  std::optional<float> outlier_threshold = std::nullopt;  // llm_int8: another than the scheme's own
};

// How all linears of a model are opened. Immutable after Create; the checkpoint must outlive it.
class LinearLoader {
 public:
  // `online_name`: empty, or one of OnlineSchemeNames() ("fp8", "fp8_per_channel", "int8", "w4a16",
  // "qoq_g128", ...): every dense linear but lm_head is rounded to nearest while it is read, so that
  // its numbers equal those of the checkpoint that `octavo quantize` writes ("fp8": vLLM's online
  // quantization, one f32 scale per part; "llm_int8:5": LLM.int8() with a threshold of 5). A GGUF's weights are rounded to bf16 first. `pool` may be
  // null; it speeds up schemes that need a pass over the tensor beforehand.
  // Errors: those of QuantizationConfig; InvalidArgument for an unknown name; FailedPrecondition when
  // the checkpoint is quantized already.
  static Result<LinearLoader> Create(const Checkpoint& checkpoint, std::string_view online_name = "",
                                     ThreadPool* pool = nullptr);

  // Opens `module` ("model.layers.0.self_attn.q_proj"), whose weight is [out, in]. Parts that a model
  // fuses (q, k, v) are opened one by one and may differ in scheme.
  Result<std::unique_ptr<WeightSource>> OpenLinear(const std::string& module) const;

  // Opens a matrix that is not a linear's ("model.embed_tokens"), also when it serves as a tied
  // lm_head. Never quantized online.
  Result<std::unique_ptr<WeightSource>> OpenEmbedding(const std::string& module) const;

  const QuantizationConfig& config() const { return config_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  LinearLoader() = default;
  Result<std::unique_ptr<WeightSource>> Open(const std::string& module,
                                             std::string_view module_class) const;

  const Checkpoint* checkpoint_ = nullptr;
  ThreadPool* pool_ = nullptr;
  QuantizationConfig config_;
  OnlineQuantization online_;
};

// A source that rounds a stored float matrix (or GGUF blocks, by way of bf16) to `online.scheme` on
// every read. Errors: as LinearLoader, and InvalidArgument where the group does not divide the columns.
Result<std::unique_ptr<WeightSource>> OpenOnline(const Checkpoint& checkpoint,
                                                 const std::string& module,
                                                 const OnlineQuantization& online,
                                                 ThreadPool* pool);

// Modules of a checkpoint that count as class "Linear": every matrix X.weight of plain floats or ggml
// blocks but embeddings and routers, in file order. Includes lm_head.
std::vector<std::string> LinearModules(const Checkpoint& checkpoint);

// Routers of mixtures of experts: linear layers that no recipe quantizes.
std::vector<std::string> RouterModules(const Checkpoint& checkpoint);

// The largest of `wanted`, 128, 64, 32 (not above `wanted`) that divides the columns of all `modules`;
// 0 if none does.
int ChooseGroupSize(const Checkpoint& checkpoint, const std::vector<std::string>& modules,
                    int wanted);

}  // namespace octavo
