// SPDX-License-Identifier: Apache-2.0
// The pre-norm decoder that Llama introduced and several families share to the letter:
//   h += o_proj(attention(rope(qkv(rmsnorm(h)))));  h += down(act(gate(x)) * up(x)), x = rmsnorm(h)
// Families whose graph differs write their own; this one takes no flags but biases, and the
// feed-forward half as a loader (Mixtral's is a mixture of experts).
#pragma once

#include <memory>
#include <vector>

#include "layers/feed_forward.h"
#include "layers/mlp.h"
#include "models/model.h"
#include "models/weight_loader.h"

namespace octavo {

// Fields common to the family: rope, norms, gated MLP. Biases and windows are the caller's.
Result<ModelConfig> ParseLlamaLikeConfig(const Json& json);

// Loads the feed-forward half of the layer "model.layers.N" (`prefix`).
using FeedForwardLoader = Result<std::unique_ptr<FeedForward>> (*)(const ModelConfig& config,
                                                                   WeightLoader& loader,
                                                                   const std::string& prefix);

// `prefix`.mlp.{gate,up,down}_proj.
Result<std::unique_ptr<FeedForward>> LoadGatedMlp(const ModelConfig& config, WeightLoader& loader,
                                                  const std::string& prefix);

// The same under other names: `module`.`names`.
struct GatedMlpNames {
  std::string_view gate, up, down;
};
Result<Mlp> LoadGatedMlp(const ModelConfig& config, WeightLoader& loader,
                         const std::string& module, const GatedMlpNames& names);

Result<std::unique_ptr<Model>> LoadLlamaLike(ModelConfig config, WeightLoader& loader,
                                             FeedForwardLoader load_mlp);

// With LoadGatedMlp.
Result<std::unique_ptr<Model>> LoadLlamaLike(ModelConfig config, WeightLoader& loader);

std::vector<WeightPattern> LlamaLikeWeightMap();
std::vector<SmoothingSite> LlamaLikeSmoothing();

}  // namespace octavo
