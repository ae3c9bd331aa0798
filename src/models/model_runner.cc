// SPDX-License-Identifier: Apache-2.0
// Forward passes over a loaded model.
#include "models/model_runner.h"

#include <fmt/format.h>

namespace octavo {

Result<std::unique_ptr<ModelRunner>> ModelRunner::Create(std::shared_ptr<const Model> model,
                                                         const RunnerOptions& options,
                                                         IsaLevel isa, ThreadPool& pool) {
  if (options.max_step_tokens <= 0) return InvalidArgument("max_step_tokens must be positive");
  OCTAVO_ASSIGN_OR_RETURN(KvCache kv,
                          KvCache::Create(model->kv_layers(), options.kv_dtype,
                                          options.block_size, options.num_blocks));
  std::unique_ptr<ModelRunner> runner(
      new ModelRunner(std::move(model), options, isa, pool, std::move(kv)));
  OCTAVO_RETURN_IF_ERROR(runner->model_->Reserve(runner->ws_, pool.num_threads()));
  return runner;
}

Status ModelRunner::Forward(const ForwardBatch& batch) {
  if (batch.num_tokens() == 0) return InvalidArgument("empty batch");
  if (batch.num_tokens() > options_.max_step_tokens) {
    return InvalidArgument(fmt::format("batch of {} tokens, limit {}", batch.num_tokens(),
                                       options_.max_step_tokens));
  }
  batch_ = batch;
  Step step = MakeStep();
  OCTAVO_RETURN_IF_ERROR(model_->Embed(step));
  for (int64_t i = 0; i < model_->config().num_layers; ++i) model_->Layer(i, step);
  return Status::Ok();
}

void ModelRunner::FinalHidden(int64_t row, float* hidden) {
  model_->FinalHidden(MakeStep(), row, hidden);
}

void ModelRunner::Logits(std::span<const int64_t> rows, float* logits) {
  Step step = MakeStep();
  model_->Finish(step, rows, logits);
}

}  // namespace octavo
