// SPDX-License-Identifier: Apache-2.0
// Runs a given text through a model and hands out the logits of every position: what perplexity,
// quality certificates and parity tests stand on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "models/model_runner.h"
#include "octavo/status.h"

namespace octavo {

// Gets logits [count, vocab_size] of positions [first, first + count), valid during the call. An
// error ends the run and is passed on.
using LogitsSink = std::function<Status(int64_t first, int64_t count, const float* logits)>;

class TeacherForcing {
 public:
  // Makes a runner whose KV cache holds one sequence of at most `max_tokens`. `pool` must outlive it.
  static Result<TeacherForcing> Create(std::shared_ptr<const Model> model, int64_t max_tokens,
                                       KvDType kv_dtype, IsaLevel isa, ThreadPool& pool);

  // Runs `tokens` as a sequence of its own, from position 0, in steps of at most 512 tokens. Results
  // do not depend on the size of steps. InvalidArgument when there are more than max_tokens.
  Status Run(std::span<const int32_t> tokens, const LogitsSink& sink);

  const Model& model() const { return runner_->model(); }

 private:
  TeacherForcing(std::unique_ptr<ModelRunner> runner, int64_t max_tokens, int64_t blocks);

  std::unique_ptr<ModelRunner> runner_;
  int64_t max_tokens_;
  std::vector<std::vector<int32_t>> block_tables_;  // per KV group
};

}  // namespace octavo
