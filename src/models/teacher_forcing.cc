// SPDX-License-Identifier: Apache-2.0
// One sequence in fixed KV blocks, computed step by step.
#include "models/teacher_forcing.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace octavo {
namespace {

constexpr int64_t kStepTokens = 512;
// Rows of logits per call of the sink: 64 rows of a vocabulary of 152k are 39 MB.
constexpr int64_t kLogitRows = 64;

}  // namespace

Result<TeacherForcing> TeacherForcing::Create(std::shared_ptr<const Model> model,
                                              int64_t max_tokens, KvDType kv_dtype, IsaLevel isa,
                                              ThreadPool& pool) {
  RunnerOptions options;
  options.kv_dtype = kv_dtype;
  options.max_step_tokens = std::min(kStepTokens, max_tokens);
  const int64_t blocks = (max_tokens + options.block_size - 1) / options.block_size;
  const auto groups = MakeKvGroups(model->kv_layers(), kv_dtype, options.block_size);
  options.num_blocks = blocks * static_cast<int64_t>(groups.size());
  OCTAVO_ASSIGN_OR_RETURN(auto runner, ModelRunner::Create(std::move(model), options, isa, pool));
  return TeacherForcing(std::move(runner), max_tokens, blocks);
}

TeacherForcing::TeacherForcing(std::unique_ptr<ModelRunner> runner, int64_t max_tokens,
                               int64_t blocks)
    : runner_(std::move(runner)), max_tokens_(max_tokens) {
  block_tables_.resize(runner_->kv().groups().size());
  int32_t next = 0;
  for (std::vector<int32_t>& table : block_tables_) {
    table.resize(static_cast<size_t>(blocks));
    std::iota(table.begin(), table.end(), next);
    next += static_cast<int32_t>(blocks);
  }
}

Status TeacherForcing::Run(std::span<const int32_t> tokens, const LogitsSink& sink) {
  const auto total = static_cast<int64_t>(tokens.size());
  if (total > max_tokens_) {
    return InvalidArgument(fmt::format("{} tokens, want at most {}", total, max_tokens_));
  }
  std::vector<float> logits(static_cast<size_t>(kLogitRows * model().config().vocab_size));
  std::vector<int64_t> rows;
  for (int64_t begin = 0; begin < total; begin += kStepTokens) {
    const int64_t count = std::min(kStepTokens, total - begin);
    ForwardBatch batch;
    batch.tokens.assign(tokens.begin() + begin, tokens.begin() + begin + count);
    batch.positions.resize(static_cast<size_t>(count));
    std::iota(batch.positions.begin(), batch.positions.end(), static_cast<int32_t>(begin));
    for (const std::vector<int32_t>& table : block_tables_) {
      batch.sequences.push_back({{.row_begin = 0,
                                  .num_tokens = count,
                                  .position = begin,
                                  .block_table = table.data()}});
    }
    OCTAVO_RETURN_IF_ERROR(runner_->Forward(batch));
    for (int64_t row = 0; row < count; row += kLogitRows) {
      rows.resize(static_cast<size_t>(std::min(kLogitRows, count - row)));
      std::iota(rows.begin(), rows.end(), row);
      runner_->Logits(rows, logits.data());
      OCTAVO_RETURN_IF_ERROR(sink(begin + row, static_cast<int64_t>(rows.size()), logits.data()));
    }
  }
  return Status::Ok();
}

}  // namespace octavo
