// SPDX-License-Identifier: Apache-2.0
// Sorting, and permutations in place by their cycles.
#include "quantizers/channel_order.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace octavo {
namespace {

template <typename T>
void Reorder(const std::vector<int32_t>& order, std::vector<T>& values) {
  std::vector<T> moved(values.size());
  for (size_t i = 0; i < values.size(); ++i) moved[i] = values[static_cast<size_t>(order[i])];
  values.swap(moved);
}

}  // namespace

std::vector<int32_t> OrderBySalience(const std::vector<float>& salience, int64_t block) {
  std::vector<int32_t> order(salience.size());
  std::iota(order.begin(), order.end(), 0);
  for (auto begin = order.begin(); begin != order.end(); begin += block) {
    std::stable_sort(begin, begin + block, [&](int32_t a, int32_t b) {
      return salience[static_cast<size_t>(a)] < salience[static_cast<size_t>(b)];
    });
  }
  return order;
}

HeadOrder OrderHeads(const std::vector<float>& salience, int64_t head_dim, int64_t num_kv_heads) {
  const auto channels = static_cast<int64_t>(salience.size());
  const int64_t shared = channels / (num_kv_heads * head_dim);  // query heads per head of values
  std::vector<float> of_values(static_cast<size_t>(num_kv_heads * head_dim));
  const auto value_of = [&](int64_t channel) {
    return channel / head_dim / shared * head_dim + channel % head_dim;
  };
  for (int64_t i = 0; i < channels; ++i) {
    float& max = of_values[static_cast<size_t>(value_of(i))];
    max = std::max(max, salience[static_cast<size_t>(i)]);
  }
  HeadOrder order;
  order.values = OrderBySalience(of_values, head_dim);
  for (int64_t i = 0; i < channels; ++i) {
    const int32_t in_head = order.values[static_cast<size_t>(value_of(i))] % static_cast<int32_t>(head_dim);
    order.inputs.push_back(static_cast<int32_t>(i / head_dim * head_dim) + in_head);
  }
  return order;
}

void ReorderInput(const std::vector<int32_t>& order, InputStatistics& input) {
  Reorder(order, input.absmax);
  Reorder(order, input.abs_sum);
  if (!input.has_gram()) return;
  const auto k = static_cast<size_t>(input.k);
  auto* gram = input.gram.As<float>();
  // Rows along their cycles, then every row's columns.
  std::vector<float> held(k);
  std::vector<bool> placed(k);
  for (size_t start = 0; start < k; ++start) {
    if (placed[start]) continue;
    std::copy_n(gram + start * k, k, held.data());
    size_t to = start;
    for (auto from = static_cast<size_t>(order[to]); from != start;
         from = static_cast<size_t>(order[to])) {
      std::copy_n(gram + from * k, k, gram + to * k);
      placed[to] = true;
      to = from;
    }
    std::copy_n(held.data(), k, gram + to * k);
    placed[to] = true;
  }
  for (size_t row = 0; row < k; ++row) {
    for (size_t i = 0; i < k; ++i) held[i] = gram[row * k + static_cast<size_t>(order[i])];
    std::copy_n(held.data(), k, gram + row * k);
  }
}

Status FoldOrder(const Checkpoint& checkpoint, const std::vector<const LayerModule*>& producers,
                 const LayerModule& consumer, const std::vector<int32_t>& rows,
                 const std::vector<int32_t>& columns, LayerTransform& transform) {
  for (const LayerModule* producer : producers) {
    transform.row_order[producer->name] = rows;
    const std::string bias = producer->name + ".bias";
    if (checkpoint.Find(bias) == nullptr) continue;
    OCTAVO_ASSIGN_OR_RETURN(std::vector<float> values, CurrentVector(checkpoint, transform, bias));
    Reorder(rows, values);
    transform.dense[bias] = std::move(values);
  }
  transform.column_order[consumer.name] = columns;
  return Status::Ok();
}

}  // namespace octavo
