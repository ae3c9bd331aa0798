// SPDX-License-Identifier: Apache-2.0
// Activation-aware channel reordering: input channels of similar magnitude share a quantization group.
//
// Source: QServe, arXiv:2405.04532, section 4.3.3; the salience is max|x| as in the authors' code. The
// order is folded into the rows of the linears that make the channels, so it costs nothing at run time.
// The residual stream, which all layers share, keeps its order. Between v_proj and o_proj channels move
// within their head only, and query heads that share a head of values move alike.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/status.h"
#include "quantizers/input_statistics.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_transform.h"

namespace octavo {

// New position -> old channel, sorted by rising salience within each block of `block` channels; equal
// ones stay in order.
std::vector<int32_t> OrderBySalience(const std::vector<float>& salience, int64_t block);

// The order of o_proj's inputs [num_heads * head_dim] and of v_proj's rows [num_kv_heads * head_dim].
struct HeadOrder {
  std::vector<int32_t> inputs;
  std::vector<int32_t> values;
};
HeadOrder OrderHeads(const std::vector<float>& salience, int64_t head_dim, int64_t num_kv_heads);

// Puts the channels of the statistics in the new order, in place.
void ReorderInput(const std::vector<int32_t>& order, InputStatistics& input);

// Folds an order into the modules that make the channels (rows and biases) and one that reads them.
Status FoldOrder(const Checkpoint& checkpoint, const std::vector<const LayerModule*>& producers,
                 const LayerModule& consumer, const std::vector<int32_t>& rows,
                 const std::vector<int32_t>& columns, LayerTransform& transform);

}  // namespace octavo
