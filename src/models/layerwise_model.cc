// SPDX-License-Identifier: Apache-2.0
// Slices of a model, loaded one after the other.
#include "models/layerwise_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "io/hf_config.h"

namespace octavo {
namespace {

constexpr int kBlockSize = 32;

int64_t BlocksOf(int64_t tokens) { return (tokens + kBlockSize - 1) / kBlockSize; }

}  // namespace

LayerwiseModel::LayerwiseModel(std::shared_ptr<const Checkpoint> checkpoint, LoadOptions load,
                               KvDType kv_dtype, IsaLevel isa, ThreadPool& pool,
                               LayerwiseCapacity capacity)
    : checkpoint_(std::move(checkpoint)), load_(std::move(load)), kv_dtype_(kv_dtype), isa_(isa),
      pool_(&pool), capacity_(capacity),
      ws_(std::make_unique<Workspace>(std::min(capacity.step_tokens, capacity.tokens))) {
  // Each text starts a block of its own.
  block_table_.resize(static_cast<size_t>(BlocksOf(capacity.tokens) + capacity.texts - 1));
  std::iota(block_table_.begin(), block_table_.end(), 0);
}

Result<LayerwiseModel> LayerwiseModel::Open(std::shared_ptr<const Checkpoint> checkpoint,
                                            const LoadOptions& load, KvDType kv_dtype, IsaLevel isa,
                                            ThreadPool& pool, LayerwiseCapacity capacity) {
  if (capacity.tokens == 0) capacity.tokens = load.max_model_len;
  if (capacity.tokens <= 0 || capacity.texts <= 0 || capacity.step_tokens <= 0) {
    return InvalidArgument("the capacity of a layerwise model must be positive");
  }
  OCTAVO_ASSIGN_OR_RETURN(const Json json, NormalizeConfig(checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const ModelArch* arch, FindArch(json));
  LayerwiseModel model(std::move(checkpoint), load, kv_dtype, isa, pool, capacity);
  OCTAVO_ASSIGN_OR_RETURN(model.config_, arch->parse_config(json));
  return model;
}

Status LayerwiseModel::Load(const LayerRange& range, const WeightOverrides* overrides) {
  slice_.reset();  // before the next one takes its memory
  LoadOptions load = load_;
  load.only = range;
  if (overrides != nullptr) load.overrides = overrides;
  OCTAVO_ASSIGN_OR_RETURN(slice_, LoadModel(checkpoint_, load, isa_, *pool_));
  return slice_->Reserve(*ws_, pool_->num_threads());
}

Status LayerwiseModel::LoadLayer(int64_t index, const WeightOverrides* overrides) {
  OCTAVO_RETURN_IF_ERROR(Load({.first = index, .count = 1}, overrides));
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

void LayerwiseModel::SetBatch(std::span<const int64_t> lengths, int64_t begin, int64_t count) {
  batch_.tokens.assign(static_cast<size_t>(count), 0);
  batch_.positions.resize(static_cast<size_t>(count));
  batch_.sequences.assign(1, {});
  int64_t text_begin = 0;
  int64_t block = 0;
  for (const int64_t length : lengths) {
    const int64_t from = std::max(begin, text_begin);
    const int64_t rows = std::min(begin + count, text_begin + length) - from;
    if (rows > 0) {
      batch_.sequences[0].push_back({.row_begin = from - begin,
                                     .num_tokens = rows,
                                     .position = from - text_begin,
                                     .block_table = block_table_.data() + block});
      const auto first = batch_.positions.begin() + (from - begin);
      std::iota(first, first + rows, static_cast<int32_t>(from - text_begin));
    }
    text_begin += length;
    block += BlocksOf(length);
  }
}

Status LayerwiseModel::Embed(std::span<const int32_t> tokens, float* hidden) {
  if (slice_ == nullptr) OCTAVO_RETURN_IF_ERROR(Load({}));
  const std::array<int64_t, 1> length = {std::ssize(tokens)};
  for (int64_t begin = 0; begin < length[0]; begin += ws_->max_tokens()) {
    const int64_t count = std::min(ws_->max_tokens(), length[0] - begin);
    SetBatch(length, begin, count);
    std::copy_n(tokens.begin() + begin, count, batch_.tokens.begin());
    Step step = MakeStep();
    OCTAVO_RETURN_IF_ERROR(slice_->Embed(step));
    const ArenaMatrix rows = step.Hidden(config_.hidden_size);
    for (int64_t i = 0; i < count; ++i, hidden += config_.hidden_size) {
      std::copy_n(rows.Row(i), config_.hidden_size, hidden);
    }
  }
  return Status::Ok();
}

Status LayerwiseModel::RunLayer(std::span<const int64_t> lengths, float* hidden,
                                const LayerTaps& taps) {
  const int64_t count = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (count > capacity_.tokens || std::ssize(lengths) > capacity_.texts) {
    return InvalidArgument(fmt::format("{} tokens in {} texts, want at most {} in {}", count,
                                       lengths.size(), capacity_.tokens, capacity_.texts));
  }
  for (int64_t begin = 0; begin < count; begin += ws_->max_tokens()) {
    const int64_t rows = std::min(ws_->max_tokens(), count - begin);
    SetBatch(lengths, begin, rows);
    // Embed makes the step's position tables; its rows give way to those of the texts.
    Step quiet = MakeStep();
    OCTAVO_RETURN_IF_ERROR(slice_->Embed(quiet));
    Step step = MakeStep(taps);
    const ArenaMatrix x = step.Hidden(config_.hidden_size);
    float* const text = hidden + begin * config_.hidden_size;
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(text + i * config_.hidden_size, config_.hidden_size, x.Row(i));
    }
    slice_->Layer(0, step);
    if (taps.only) continue;
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
  Step step = MakeStep();
  linear.Forward(step, inputs, {.data = y, .row_stride = linear.n()}, /*accumulate=*/false);
  return Status::Ok();
}

Status LayerwiseModel::Logits(const float* hidden, int64_t count, float* logits) {
  const int64_t limit = std::min(kMaxLogitRows, ws_->max_tokens());
  if (count > limit) return InvalidArgument(fmt::format("{} rows, want at most {}", count, limit));
  Step step = MakeStep();
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
