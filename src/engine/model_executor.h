// SPDX-License-Identifier: Apache-2.0
// The executor that computes: a loaded model behind a ModelRunner.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "engine/executor.h"
#include "models/model_runner.h"

namespace octavo {

class ModelExecutor final : public Executor {
 public:
  ModelExecutor(std::unique_ptr<ModelRunner> runner, ThreadPool& pool)
      : runner_(std::move(runner)), pool_(pool) {}

  Status Forward(const ForwardBatch& batch) override { return runner_->Forward(batch); }
  void Logits(std::span<const int64_t> rows, float* logits) override {
    runner_->Logits(rows, logits);
  }
  void FinalHidden(int64_t row, float* hidden) override { runner_->FinalHidden(row, hidden); }
  void CopyBlock(int32_t from, int32_t to) override { runner_->kv().CopyBlock(from, to); }
  int64_t vocab_size() const override { return runner_->model().config().vocab_size; }
  int64_t hidden_size() const override { return runner_->model().config().hidden_size; }
  ThreadPool& pool() override { return pool_; }

  ModelRunner& runner() { return *runner_; }

 private:
  std::unique_ptr<ModelRunner> runner_;
  ThreadPool& pool_;
};

}  // namespace octavo
