// SPDX-License-Identifier: Apache-2.0
// What the engine needs from whoever computes: forward passes, logits and page copies.
//
// ModelExecutor runs a ModelRunner; tests run a fake that knows which tokens every page should
// hold.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "layers/step.h"
#include "octavo/status.h"

namespace octavo {

class Executor {
 public:
  virtual ~Executor() = default;

  virtual Status Forward(const ForwardBatch& batch) = 0;

  // Logits of the given rows (ascending) of the last Forward: [rows.size(), vocab_size] f32.
  virtual void Logits(std::span<const int64_t> rows, float* logits) = 0;

  // One row of the last Forward after the final norm: hidden [hidden_size] f32.
  virtual void FinalHidden(int64_t row, float* hidden) = 0;

  // Copies a page of the KV pool in all of its group's layers.
  virtual void CopyBlock(int32_t from, int32_t to) = 0;

  virtual int64_t vocab_size() const = 0;
  virtual int64_t hidden_size() const = 0;
  virtual ThreadPool& pool() = 0;
};

}  // namespace octavo
