// SPDX-License-Identifier: Apache-2.0
// The pre-norm decoder that Llama introduced and several families share to the letter:
//   h += o_proj(attention(rope(qkv(rmsnorm(h)))));  h += down(act(gate(x)) * up(x)), x = rmsnorm(h)
// Families whose graph differs write their own; this one takes no flags but biases.
#pragma once

#include <memory>
#include <vector>

#include "models/model.h"
#include "models/weight_loader.h"

namespace octavo {

// Fields common to the family: rope, norms, gated MLP. Biases and windows are the caller's.
Result<ModelConfig> ParseLlamaLikeConfig(const Json& json);

Result<std::unique_ptr<Model>> LoadLlamaLike(ModelConfig config, WeightLoader& loader);

std::vector<WeightPattern> LlamaLikeWeightMap();
std::vector<SmoothingSite> LlamaLikeSmoothing();

}  // namespace octavo
