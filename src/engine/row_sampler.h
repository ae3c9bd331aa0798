// SPDX-License-Identifier: Apache-2.0
// The end of a step: logits of the rows that matter, and what is drawn or scored from them.
//
// Rows go through the output projection in chunks of bounded size, so the logits buffer stays small
// however many prompt positions want log-probabilities; sequences of a chunk are sampled in
// parallel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/executor.h"
#include "engine/sampler.h"
#include "engine/sequence.h"

namespace octavo {

// What a sequence wants from its rows of this step.
struct RowTask {
  enum class Kind : uint8_t {
    kScore,  // one row: log-probability of a known token
    kDraw,   // 1 + drafts rows: tokens; with `num_choices` > 1 there are no drafts
    kTop,    // one row: candidates of a beam
  };
  Kind kind = Kind::kDraw;
  Sequence* sequence = nullptr;
  int64_t first_row = 0;  // of the flattened batch
  int64_t num_rows = 1;
  int32_t num_choices = 1;
  int32_t token = 0;    // kScore
  int32_t num_top = 0;  // kScore, kTop

  // Results. kDraw: the tokens that follow each other (drafts that were drawn, then one more), or
  // with several choices one token per choice.
  std::vector<Sample> samples;
  TokenConstraint::Verdict verdict = TokenConstraint::Verdict::kMask;  // of structured output
  PositionScores scores;
  std::vector<PositionScores::Entry> top;
};

class RowSampler {
 public:
  // `end_tokens` ends sequences unless ignore_eos. `max_rows` >= 1 + drafts of any sequence.
  RowSampler(Executor& executor, std::vector<int32_t> end_tokens, int64_t max_rows);

  // Runs all tasks; their rows ascend.
  void Run(std::span<RowTask> tasks);

  bool IsEnd(const EngineRequest& request, int32_t token) const;

  size_t bytes() const { return logits_.size() * sizeof(float); }

 private:
  void RunOne(RowTask& task, std::span<float> rows, Sampler& sampler) const;
  void DrawChain(RowTask& task, std::span<float> rows, Sampler& sampler) const;

  Executor& executor_;
  std::vector<int32_t> end_tokens_;
  int64_t max_rows_;
  std::vector<float> logits_;      // [max_rows, vocab_size]
  std::vector<Sampler> samplers_;  // [thread]
};

}  // namespace octavo
