// SPDX-License-Identifier: Apache-2.0
// What one forward pass works on: the flattened batch and the resources it may use.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "kernels/attention/attention.h"
#include "layers/kv_cache.h"
#include "layers/workspace.h"

namespace octavo {

// Tokens of all sequences of a step, back to back.
struct ForwardBatch {
  std::vector<int32_t> tokens;     // [num_tokens]
  std::vector<int32_t> positions;  // [num_tokens], absolute
  // [kv group][sequence]: the same sequences with the block table of each group.
  std::vector<std::vector<SequenceSlice>> sequences;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
};

// Sees the input of every linear layer before it is multiplied: [num_tokens, k] in the format the
// layer consumes. Calibration runs with f32 activations, so it sees floats.
using LinearTap = std::function<void(std::string_view slot, const ActivationView& input)>;

// Sees what a layer writes to the KV cache: rows of all kv heads, k after its rotation.
struct KvRows {
  const float* k = nullptr;  // [num_tokens, num_kv_heads * head_dim], rows `row_stride` floats apart
  const float* v = nullptr;
  int64_t cols = 0;
  int64_t row_stride = 0;
};
using KvTap = std::function<void(const KvRows& rows)>;

struct Step {
  const ForwardBatch& batch;
  ThreadPool& pool;
  IsaLevel isa;
  KvCache& kv;
  Workspace& ws;
  const LinearTap* tap = nullptr;
  const KvTap* kv_tap = nullptr;
  // Only what the taps see is wanted: products that nothing but the residual stream reads are left out, so
  // what the pass leaves there has no meaning.
  bool taps_only = false;

  ArenaMatrix Hidden(int64_t hidden_size) const {
    return ws.Matrix(Workspace::Role::kHidden, hidden_size);
  }
};

}  // namespace octavo
