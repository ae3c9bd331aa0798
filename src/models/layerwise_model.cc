// SPDX-License-Identifier: Apache-2.0
// Slices of a model, loaded one after the other.
#include "models/layerwise_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "io/hf_config.h"

namespace octavo {
namespace {

constexpr int64_t kStepTokens = 512;
constexpr int kBlockSize = 32;

}  // namespace

LayerwiseModel::LayerwiseModel(std::shared_ptr<const Checkpoint> checkpoint, LoadOptions load,
                               KvDType kv_dtype, IsaLevel isa, ThreadPool& pool)
    : checkpoint_(std::move(checkpoint)), load_(std::move(load)), kv_dtype_(kv_dtype), isa_(isa),
      pool_(&pool), ws_(std::make_unique<Workspace>(std::min(kStepTokens, load_.max_model_len))) {
  block_table_.resize(static_cast<size_t>((load_.max_model_len + kBlockSize - 1) / kBlockSize));
  std::iota(block_table_.begin(), block_table_.end(), 0);
}

Result<LayerwiseModel> LayerwiseModel::Open(std::shared_ptr<const Checkpoint> checkpoint,
                                            const LoadOptions& load, KvDType kv_dtype, IsaLevel isa,
                                            ThreadPool& pool) {
  if (load.max_model_len <= 0) return InvalidArgument("max_model_len must be positive");
  OCTAVO_ASSIGN_OR_RETURN(const Json json, NormalizeConfig(checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(json));
  LayerwiseModel model(std::move(checkpoint), load, kv_dtype, isa, pool);
  OCTAVO_ASSIGN_OR_RETURN(model.config_, arch->parse_config(json));
  OCTAVO_RETURN_IF_ERROR(model.Load({}));
  return model;
}

Status LayerwiseModel::Load(const LayerRange& range) {
  slice_.reset();  // before the next one takes its memory
  LoadOptions load = load_;
  load.only = range;
  OCTAVO_ASSIGN_OR_RETURN(slice_, LoadModel(checkpoint_, load, isa_, *pool_));
  return slice_->Reserve(*ws_, pool_->num_threads());
}

Status LayerwiseModel::LoadLayer(int64_t index) {
  OCTAVO_RETURN_IF_ERROR(Load({.first = index, .count = 1}));
  kv_ = KvCache();
  OCTAVO_ASSIGN_OR_RETURN(kv_, KvCache::Create(slice_->kv_layers(), kv_dtype_, kBlockSize,
                                               static_cast<int64_t>(block_table_.size())));
  return Status::Ok();
}

Status LayerwiseModel::LoadHead() {
  kv_ = KvCache();
  return Load({.first = config_.num_layers, .count = 0, .head = true});
}

void LayerwiseModel::Unload() {
  slice_.reset();
  kv_ = KvCache();
}

void LayerwiseModel::SetBatch(std::span<const int32_t> tokens, int64_t position) {
  const auto count = static_cast<int64_t>(tokens.size());
  batch_.tokens.assign(tokens.begin(), tokens.end());
  batch_.positions.resize(tokens.size());
  std::iota(batch_.positions.begin(), batch_.positions.end(), static_cast<int32_t>(position));
  batch_.sequences = {{{.row_begin = 0,
                        .num_tokens = count,
                        .position = position,
                        .block_table = block_table_.data()}}};
}

Status LayerwiseModel::Embed(std::span<const int32_t> tokens, float* hidden) {
  for (size_t begin = 0; begin < tokens.size(); begin += kStepTokens) {
    const size_t count = std::min<size_t>(kStepTokens, tokens.size() - begin);
    SetBatch(tokens.subspan(begin, count), static_cast<int64_t>(begin));
    Step step = MakeStep(nullptr);
    OCTAVO_RETURN_IF_ERROR(slice_->Embed(step));
    const ArenaMatrix rows = step.Hidden(config_.hidden_size);
    for (size_t i = 0; i < count; ++i, hidden += config_.hidden_size) {
      std::copy_n(rows.Row(static_cast<int64_t>(i)), config_.hidden_size, hidden);
    }
  }
  return Status::Ok();
}

Status LayerwiseModel::RunLayer(float* hidden, int64_t count, const LinearTap* tap) {
  if (count > load_.max_model_len) {
    return InvalidArgument(fmt::format("{} tokens, want at most {}", count, load_.max_model_len));
  }
  const std::vector<int32_t> any_token(static_cast<size_t>(std::min(kStepTokens, count)), 0);
  for (int64_t begin = 0; begin < count; begin += kStepTokens) {
    const int64_t rows = std::min(kStepTokens, count - begin);
    SetBatch(std::span(any_token).first(static_cast<size_t>(rows)), begin);
    // Embed makes the step's position tables; its rows give way to those of the text.
    Step quiet = MakeStep(nullptr);
    OCTAVO_RETURN_IF_ERROR(slice_->Embed(quiet));
    Step step = MakeStep(tap);
    const ArenaMatrix x = step.Hidden(config_.hidden_size);
    float* const text = hidden + begin * config_.hidden_size;
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(text + i * config_.hidden_size, config_.hidden_size, x.Row(i));
    }
    slice_->Layer(0, step);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(x.Row(i), config_.hidden_size, text + i * config_.hidden_size);
    }
  }
  return Status::Ok();
}

Status LayerwiseModel::RunLinear(const Linear& linear, const float* x, int64_t rows, float* y) {
  ActivationSet inputs;
  OCTAVO_RETURN_IF_ERROR(inputs.Reserve(linear.inputs(), rows, linear.k()));
  inputs.Select(linear.inputs(), linear.k());
  inputs.SetRows(rows);
  for (int64_t row = 0; row < rows; ++row) inputs.EncodeRow(row, x + row * linear.k());
  Step step = MakeStep(nullptr);
  linear.Forward(step, inputs, {.data = y, .row_stride = linear.n()}, /*accumulate=*/false);
  return Status::Ok();
}

Status LayerwiseModel::Logits(const float* hidden, int64_t count, float* logits) {
  const int64_t limit = std::min(kMaxLogitRows, ws_->max_tokens());
  if (count > limit) return InvalidArgument(fmt::format("{} rows, want at most {}", count, limit));
  Step step = MakeStep(nullptr);
  const ArenaMatrix x = step.Hidden(config_.hidden_size);
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(hidden + i * config_.hidden_size, config_.hidden_size, x.Row(i));
  }
  slice_->Finish(step, rows, logits);
  return Status::Ok();
}

}  // namespace octavo
