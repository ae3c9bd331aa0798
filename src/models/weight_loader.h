// SPDX-License-Identifier: Apache-2.0
// Turns a checkpoint's tensors into layers: finds each module's scheme, packs its weights straight
// from the mapped file, and checks every shape against what the architecture expects.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "kernels/rope_table.h"
#include "layers/embedding.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "models/key_center_file.h"
#include "models/model_config.h"
#include "octavo/status.h"
#include "schemes/open_linear.h"

namespace octavo {

enum class ComputeDType : uint8_t {
  kFloat32,   // 16-bit weights meet f32 activations: the reference numbers
  kBfloat16,  // 16-bit weights meet bf16 activations
};

// A part of a model: layers [first, first + count), which run as layers 0, 1, ... of the loaded Model
// but keep the checkpoint's names, and the output projection if `head`. Embeddings always work: they
// are read row by row.
struct LayerRange {
  int64_t first = 0;
  int64_t count = 0;
  bool head = false;
};

// Takes weights from elsewhere than the checkpoint: calibration runs layers that are not on disk yet.
struct WeightOverrides {
  // The weight of a module; a null pointer leaves it to the checkpoint.
  std::function<Result<std::unique_ptr<WeightSource>>(const std::string& module)> open;
  std::unordered_map<std::string, std::vector<float>> vectors;  // by tensor name
};

struct LoadOptions {
  ComputeDType dtype = ComputeDType::kBfloat16;
  std::string quantization;   // online scheme ("fp8", "int8", ...) or empty
  std::string lm_head_dtype;  // "bf16", "int8", "int4"; empty keeps what the checkpoint has
  // What the blocks of a GGUF file are multiplied with: "int8" (a scale per 32 columns, as in ggml) or "16bit".
  std::string gguf_activations = "int8";
  int64_t max_model_len = 0;  // rope variant and tables; 0: the model's own maximum
  std::optional<LayerRange> only;  // load a part of the model
  // Called from the loading thread as weights are packed, with bytes of file done and in all.
  std::function<void(uint64_t done, uint64_t total)> progress;
  const WeightOverrides* overrides = nullptr;  // must outlive the loading
};

class WeightLoader {
 public:
  static Result<WeightLoader> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                     const LoadOptions& options, IsaLevel isa, ThreadPool& pool);

  // One module ("model.layers.0.self_attn.q_proj") of a fused linear, and its output size.
  struct Part {
    std::string module;
    int64_t n = 0;
  };

  // The modules fused along the output in the given order, each [n, k], with their biases.
  Result<Linear> LoadLinear(std::string slot, const std::vector<Part>& parts, int64_t k,
                            bool has_bias);

  // The output projection [n, k]: `module`, or the embedding `tied_to` when the checkpoint has none.
  Result<Linear> LoadLmHead(const std::string& module, const std::string& tied_to, int64_t n,
                            int64_t k);

  // What LoadLinear (LoadLmHead) would report of one module, without packing it.
  Result<LinearPart> DescribeLinear(const std::string& module) const;
  Result<LinearPart> DescribeLmHead(const std::string& module, const std::string& tied_to) const;

  // A vector of `size` finite floats.
  Result<std::vector<float>> LoadVector(const std::string& name, int64_t size);

  // `module`.weight (and .bias of a LayerNorm). `affine` false: ones, nothing is read.
  Result<Norm> LoadNorm(Norm::Kind kind, const std::string& module, int64_t size, float eps,
                        bool affine = true);

  Result<Embedding> LoadEmbedding(const std::string& name, int64_t rows, int64_t cols);

  // Scales of an FP8 KV cache stored with an attention module ("model.layers.0.self_attn"): k_scale and
  // v_scale, the older kv_scale for both, or the names that vLLM maps to these. One of them alone
  // counts for both; without any, and for values that are not positive, they are 1.
  struct KvScales {
    float k = 1.0f;
    float v = 1.0f;
  };
  Result<KvScales> LoadKvScales(const std::string& attention) const;

  // What octavo_kv_cache.json says of an attention module: `size` values, or none.
  Result<std::vector<float>> FindKeyCenter(const std::string& attention, int64_t size) const;

  // The rotary table for options().max_model_len, shared by the layers.
  Result<std::shared_ptr<RopeTable>> MakeRopeTable(const ModelConfig& config) const;

  bool Has(const std::string& tensor) const {
    return checkpoint_->Find(StoredName(tensor)) != nullptr;
  }

 private:
  using Source = std::unique_ptr<WeightSource>;

  WeightLoader(std::shared_ptr<const Checkpoint> checkpoint, const LoadOptions& options,
               LinearLoader linears, IsaLevel isa, ThreadPool& pool);

  Result<Source> OpenPart(const std::string& module) const;
  Result<Source> OpenLmHead(const std::string& module, const std::string& tied_to) const;
  Result<float> FindScale(const std::vector<std::string>& names) const;
  // The checkpoint's name of a module or tensor of the loaded range.
  std::string StoredName(const std::string& name) const;
  LinearPart Describe(const std::string& module, const WeightSource& source) const;
  ActivationFormat FormatFor(const WeightSource& source) const;
  float StaticScaleFor(ActivationFormat format, const std::vector<Source>& sources) const;
  Result<Linear> Pack(std::string slot, const std::vector<Source>& sources,
                      const std::vector<std::string>& modules, std::vector<float> bias);

  std::shared_ptr<const Checkpoint> checkpoint_;
  LoadOptions options_;
  LinearLoader linears_;
  KeyCenters key_centers_;
  IsaLevel isa_;
  ThreadPool& pool_;
  uint64_t total_bytes_ = 0;  // of all tensors, for progress
  uint64_t loaded_bytes_ = 0;
};

}  // namespace octavo
