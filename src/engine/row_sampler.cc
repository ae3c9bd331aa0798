// SPDX-License-Identifier: Apache-2.0
// Chunks rows, projects them and samples in parallel.
#include "engine/row_sampler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace octavo {

RowSampler::RowSampler(Executor& executor, std::vector<int32_t> end_tokens, int64_t max_rows)
    : executor_(executor),
      end_tokens_(std::move(end_tokens)),
      max_rows_(max_rows),
      logits_(static_cast<size_t>(max_rows * executor.vocab_size())),
      samplers_(static_cast<size_t>(executor.pool().num_threads())) {}

bool RowSampler::IsEnd(const EngineRequest& request, int32_t token) const {
  const auto has = [token](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  return has(request.params.stop_token_ids) || (!request.params.ignore_eos && has(end_tokens_));
}

void RowSampler::Run(std::span<RowTask> tasks) {
  const auto vocab = static_cast<size_t>(executor_.vocab_size());
  std::vector<int64_t> rows;
  std::vector<size_t> offsets;
  for (size_t begin = 0; begin < tasks.size();) {
    rows.clear();
    offsets.clear();
    size_t end = begin;
    for (; end < tasks.size(); ++end) {
      const RowTask& task = tasks[end];
      if (static_cast<int64_t>(rows.size()) + task.num_rows > max_rows_) break;
      offsets.push_back(rows.size() * vocab);
      for (int64_t i = 0; i < task.num_rows; ++i) rows.push_back(task.first_row + i);
    }
    OCTAVO_CHECK(end > begin);
    executor_.Logits(rows, logits_.data());
    executor_.pool().ParallelFor(
        static_cast<int64_t>(end - begin), 1, [&](int64_t first, int64_t last, int thread) {
          for (auto i = static_cast<size_t>(first); i < static_cast<size_t>(last); ++i) {
            RowTask& task = tasks[begin + i];
            const auto count = static_cast<size_t>(task.num_rows) * vocab;
            RunOne(task, std::span(logits_).subspan(offsets[i], count),
                   samplers_[static_cast<size_t>(thread)]);
          }
        });
    begin = end;
  }
}

void RowSampler::RunOne(RowTask& task, std::span<float> rows, Sampler& sampler) const {
  switch (task.kind) {
    case RowTask::Kind::kScore:
      task.scores = sampler.Score(rows, task.token, task.num_top);
      return;
    case RowTask::Kind::kTop:
      task.top = sampler.Top(rows, task.num_top);
      return;
    case RowTask::Kind::kDraw:
      DrawChain(task, rows, sampler);
      return;
  }
}

// Draws token after token as long as the draft foresaw what was drawn, so that speculation changes
// how many rows a step computes and nothing else.
void RowSampler::DrawChain(RowTask& task, std::span<float> rows, Sampler& sampler) const {
  const Sequence& s = *task.sequence;
  const EngineRequest& request = *s.request;
  const auto vocab = static_cast<size_t>(executor_.vocab_size());
  std::vector<int32_t> end_tokens = request.params.stop_token_ids;
  if (!request.params.ignore_eos) {
    end_tokens.insert(end_tokens.end(), end_tokens_.begin(), end_tokens_.end());
  }
  TokenHistory with_drafts;
  SampleInput input{&request.params, &s.history, end_tokens, s.num_output(), nullptr};
  TokenConstraint::Answer answer;
  if (s.constraint != nullptr) {
    answer = s.constraint->Wait();
    task.verdict = answer.verdict;
    const bool over = answer.verdict == TokenConstraint::Verdict::kComplete && end_tokens.empty();
    if (over || answer.mask == nullptr) {
      task.samples.resize(static_cast<size_t>(task.num_choices));
      return;
    }
    input.allowed_mask = answer.mask->data();
  }
  std::vector<DrawKey> keys;
  for (int32_t choice = 0; choice < task.num_choices; ++choice) {
    keys.push_back({request.seed, s.index + choice, s.num_tokens()});
  }
  for (int64_t row = 0; row < task.num_rows; ++row) {
    auto drawn = sampler.Draw(input, rows.subspan(static_cast<size_t>(row) * vocab, vocab), keys);
    const int32_t token = drawn.front().token;
    task.samples.insert(task.samples.end(), std::make_move_iterator(drawn.begin()),
                        std::make_move_iterator(drawn.end()));
    if (row + 1 == task.num_rows || token != s.drafts[static_cast<size_t>(row)]) return;
    if (IsEnd(request, token) || input.num_output + 1 >= request.max_tokens) return;
    if (row == 0) {
      with_drafts = s.history;
      input.history = &with_drafts;
    }
    with_drafts.Add(token);
    ++input.num_output;
    ++keys.front().position;
  }
}

}  // namespace octavo
