// SPDX-License-Identifier: Apache-2.0
// The model contract: one file in models/arch/ per architecture, nothing elsewhere.
//
// A forward pass is Embed, Layer(0) .. Layer(n-1), Finish, so that calibration can stop at any layer
// boundary; the residual stream lives in the workspace (Role::kHidden, f32 [num_tokens, hidden]).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "layers/linear.h"
#include "layers/step.h"
#include "models/model_config.h"
#include "octavo/status.h"

namespace octavo {

class WeightLoader;

// A loaded model. Immutable after loading; one forward pass at a time per Workspace and KvCache.
class Model {
 public:
  virtual ~Model() = default;

  const ModelConfig& config() const { return config_; }

  // What the KV cache must hold, one entry per layer.
  virtual std::vector<KvLayerSpec> kv_layers() const = 0;

  // Sizes every arena buffer for ws.max_tokens() and `num_threads`.
  virtual Status Reserve(Workspace& ws, int num_threads) const = 0;

  // Token ids -> residual stream. Fails on an id outside the vocabulary.
  virtual Status Embed(Step& step) const = 0;

  // One transformer block, in place on the residual stream.
  virtual void Layer(int64_t index, Step& step) const = 0;

  // Final norm and lm_head for the given rows of the residual stream (ascending):
  // logits [rows.size(), vocab_size] f32.
  virtual void Finish(Step& step, std::span<const int64_t> rows, float* logits) const = 0;

  // One row after the final norm: hidden [hidden_size] f32 (pooled embeddings).
  virtual void FinalHidden(const Step& step, int64_t row, float* hidden) const = 0;

  // Every linear layer with its slot name, in execution order (for inspect, taps and reports).
  virtual std::vector<const Linear*> linears() const = 0;

 protected:
  explicit Model(ModelConfig config) : config_(std::move(config)) {}

 private:
  ModelConfig config_;
};

// One row of an architecture's weight map. `pattern` is a Hugging Face tensor name without its
// ".weight"/".bias" suffix, "{}" standing for the layer (or expert) number.
struct WeightPattern {
  std::string_view pattern;
  std::string_view slot;     // "q_proj", "input_layernorm", ... unique within the architecture
  bool quantizable = false;  // a Linear that quantization schemes may target
};

// A norm (or linear) whose output channels may be rescaled exactly by dividing them by s and
// multiplying the columns of `consumers` (SmoothQuant, AWQ). Slots of the weight map.
struct SmoothingSite {
  std::string_view producer;
  std::vector<std::string_view> consumers;
  // Linears whose outputs meet the producer's channel by channel: they keep the order of channels.
  std::vector<std::string_view> partners = {};
};

// Where a tensor belongs: its row of the weight map and the numbers in place of "{}".
struct TensorPlace {
  const WeightPattern* row = nullptr;
  std::optional<int64_t> layer;
  std::optional<int64_t> expert;
};

// An architecture: everything Octavo knows about a family, exported as kArch_<stem of the file>.
struct ModelArch {
  std::string_view name;  // the file's stem
  std::vector<std::string_view> hf_architectures;
  Result<ModelConfig> (*parse_config)(const Json& config);
  Result<std::unique_ptr<Model>> (*load)(ModelConfig config, WeightLoader& loader);
  std::vector<WeightPattern> weight_map;
  std::vector<SmoothingSite> smoothing;
  // SmoothQuant's alpha for the family: the share of the difficulty that moves into the weights.
  float smoothing_strength = 0.8f;
  // Slots of the linears that add to the residual stream, where that stream may be rotated: RMSNorm
  // before every block, no learned positions, and `smoothing` names all readers of the norms. Empty: it
  // may not.
  std::vector<std::string_view> residual_writers = {};
  // Whether the sites hold for this config; null: always.
  bool (*can_smooth)(const ModelConfig& config) = nullptr;

  // The row whose pattern matches the tensor name (suffix ignored), or nullptr.
  const WeightPattern* Match(std::string_view tensor_name) const;

  // The same with layer and expert. Also for names without the leading "model." of the patterns.
  std::optional<TensorPlace> Locate(std::string_view tensor_name) const;
};

// All architectures of this build.
std::span<const ModelArch* const> AllArchs();

// The architecture that config.json asks for; the error lists what there is.
Result<const ModelArch*> FindArch(const Json& config);

}  // namespace octavo
