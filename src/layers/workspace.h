// SPDX-License-Identifier: Apache-2.0
// The activation arena of one step: every buffer a forward pass writes, sized once at load.
//
// Layers run one after the other, so they share buffers by role instead of owning their own. Nothing
// on the step path allocates; bytes() is the arena that memory reports state.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/activation.h"
#include "octavo/status.h"

namespace octavo {

// One matrix of activations in every format its consumers ask for (nearly always just one; fused
// q/k/v or gate/up whose parts use different schemes need more).
class ActivationSet {
 public:
  // Adds room for [max_rows, cols] in each of `specs`; formats that are there already are kept.
  Status Reserve(std::span<const ActivationSpec> specs, int64_t max_rows, int64_t cols);

  // Before EncodeRow; `tiles` allows tile order (ActivationBuffer::SetRows) to what asks for it.
  void SetRows(int64_t rows, bool tiles = false);

  // Chooses the formats the next EncodeRow calls fill, with the static scales of `specs`. Every spec
  // must have been reserved (its static scale aside), and no two may have the same layout.
  void Select(std::span<const ActivationSpec> specs, int64_t cols);

  // Encodes row `row` from f32 into all selected formats. Safe from several threads on distinct rows.
  void EncodeRow(int64_t row, const float* x);

  // The matrix in one of the selected formats.
  const ActivationView& View(const ActivationSpec& spec) const;

  size_t bytes() const;

 private:
  struct Entry {
    int64_t cols = 0;
    ActivationBuffer buffer;
    bool selected = false;
  };
  std::vector<Entry> entries_;
};

// A row-major f32 matrix of the arena.
struct ArenaMatrix {
  float* data = nullptr;
  int64_t row_stride = 0;
  float* Row(int64_t row) const { return data + row * row_stride; }
};

class Workspace {
 public:
  enum class Role : uint8_t {
    kHidden,      // residual stream [tokens, hidden_size]
    kProjection,  // q, k, v [tokens, (heads + 2 kv_heads) * head_dim]
    kAttention,   // attention output [tokens, heads * head_dim]
    kMlp,         // gate and up, or fc1 [tokens, 2 * intermediate_size]
    kBranch,      // a second branch that is added later (parallel residual, post-norms)
    kFinal,       // normed rows that go to the lm_head
    kCount
  };

  explicit Workspace(int64_t max_tokens) : max_tokens_(max_tokens) {}

  int64_t max_tokens() const { return max_tokens_; }

  // Makes sure the role's matrix has at least max_tokens() rows of `cols`.
  Status Reserve(Role role, int64_t cols);

  ArenaMatrix Matrix(Role role, int64_t cols) const;

  // The shared input of linear layers; there is one because each is consumed before the next is made.
  ActivationSet& activations() { return activations_; }

  // Scratch of one thread, at least `ThreadScratch` floats; for rows between f32 and encoding.
  Status ReserveThreadScratch(int num_threads, int64_t floats);
  float* ThreadScratch(int thread) const;

  size_t bytes() const;

 private:
  int64_t max_tokens_;
  struct Slot {
    int64_t cols = 0;
    HugeBuffer buffer;  // a product writes hundreds of rows at a time, each in a small page of its own
  };
  mutable std::array<Slot, static_cast<size_t>(Role::kCount)> slots_;
  ActivationSet activations_;
  int64_t scratch_floats_ = 0;
  int scratch_threads_ = 0;
  mutable AlignedBuffer scratch_;
};

}  // namespace octavo
