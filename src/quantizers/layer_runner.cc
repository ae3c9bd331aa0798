// SPDX-License-Identifier: Apache-2.0
// Batches of whole samples.
#include "quantizers/layer_runner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/quantize/quantize.h"
#include "quantizers/quantized_source.h"

namespace octavo {
namespace {

// Enough for products to run at full speed; longer samples make batches of their own.
constexpr int64_t kBatchTokens = 2048;

float MaxAbs(const float* x, int64_t rows, const KvRows& shape) {
  float largest = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const ValueRange range = ActiveQuantizeOps().range(x + row * shape.row_stride, shape.cols);
    largest = std::max({largest, -range.lo, range.hi});
  }
  return largest;
}

}  // namespace

LayerRunner::Batches LayerRunner::MakeBatches(std::span<const std::vector<int32_t>> samples) {
  Batches batches;
  int64_t tokens = 0;  // of the last batch
  for (const std::vector<int32_t>& sample : samples) {
    if (batches.lengths.empty() || tokens + std::ssize(sample) > kBatchTokens) {
      batches.lengths.emplace_back();
      tokens = 0;
    }
    batches.lengths.back().push_back(std::ssize(sample));
    tokens += std::ssize(sample);
    batches.num_tokens += std::ssize(sample);
    batches.max_tokens = std::max(batches.max_tokens, tokens);
    batches.max_samples = std::max(batches.max_samples, std::ssize(batches.lengths.back()));
  }
  return batches;
}

Result<LayerRunner> LayerRunner::Create(const Options& options, ThreadPool& pool) {
  Batches batches = MakeBatches(options.samples);
  if (batches.num_tokens == 0) return InvalidArgument("there are no calibration samples");
  OCTAVO_ASSIGN_OR_RETURN(LinearLoader linears, LinearLoader::Create(*options.checkpoint));
  const LayerwiseCapacity capacity{.tokens = batches.max_tokens,
                                   .texts = batches.max_samples,
                                   .step_tokens = batches.max_tokens};
  OCTAVO_ASSIGN_OR_RETURN(LayerwiseModel model,
                          LayerwiseModel::Open(options.checkpoint, {}, KvDType::kBf16, options.isa,
                                               pool, capacity));
  return LayerRunner(options, std::move(batches), std::move(linears), std::move(model));
}

Status LayerRunner::Load(int64_t index, const Replace& replace,
                         std::unordered_map<std::string, std::vector<float>> vectors) {
  layer_ = index;
  kv_range_ = {};
  WeightOverrides overrides;
  overrides.open = [&](const std::string& module) -> Result<std::unique_ptr<WeightSource>> {
    if (replace) {
      OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> replaced, replace(module));
      if (replaced != nullptr) return replaced;
    }
    return OpenOriginal(linears_, *options_.checkpoint, module);
  };
  overrides.vectors = std::move(vectors);
  return model_.LoadLayer(index, &overrides);
}

std::vector<const Linear*> LayerRunner::linears() const {
  std::vector<const Linear*> all = model_.linears();
  std::erase_if(all, [this](const Linear* linear) {
    if (linear->parts().empty()) return true;
    return options_.arch->Locate(linear->parts().front().module)->layer != layer_;
  });
  return all;
}

double LayerRunner::FlopsPerToken() const {
  double flops = 0;
  for (const Linear* linear : linears()) {
    flops += 2.0 * static_cast<double>(linear->n()) * static_cast<double>(linear->k());
  }
  return flops;
}

template <typename Fn>
Status LayerRunner::ForBatches(const Fn& fn) {
  hidden_.resize(static_cast<size_t>(batches_.max_tokens * hidden_size()));
  int64_t row = 0;
  for (const std::vector<int64_t>& lengths : batches_.lengths) {
    if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    OCTAVO_RETURN_IF_ERROR(fn(row, lengths, tokens));
    row += tokens;
  }
  return Status::Ok();
}

Status LayerRunner::Embed(BoundaryFile& out) {
  auto sample = options_.samples.begin();
  return ForBatches([&](int64_t row, const std::vector<int64_t>& lengths, int64_t tokens) {
    float* at = hidden_.data();
    for (const int64_t length : lengths) {
      OCTAVO_RETURN_IF_ERROR(model_.Embed(*sample++, at));
      at += length * model_.config().hidden_size;
    }
    return out.Write(row, tokens, hidden_.data());
  });
}

Status LayerRunner::Run(const BoundaryFile& in, BoundaryFile* out, const LinearTap* tap,
                        const std::function<void(int64_t tokens)>& done) {
  int64_t rows = 0;
  const KvTap kv_tap = [&](const KvRows& kv) {
    kv_range_.k = std::max(kv_range_.k, MaxAbs(kv.k, rows, kv));
    kv_range_.v = std::max(kv_range_.v, MaxAbs(kv.v, rows, kv));
  };
  return ForBatches([&](int64_t row, const std::vector<int64_t>& lengths, int64_t tokens) {
    rows = tokens;  // a batch is one step
    OCTAVO_RETURN_IF_ERROR(in.Read(row, tokens, hidden_.data()));
    OCTAVO_RETURN_IF_ERROR(
        model_.RunLayer(lengths, hidden_.data(), {.linear = tap, .kv = &kv_tap, .only = out == nullptr}));
    if (out != nullptr) OCTAVO_RETURN_IF_ERROR(out->Write(row, tokens, hidden_.data()));
    done(tokens);
    return Status::Ok();
  });
}

Result<LayerRunner::Rows> LayerRunner::RunSome(const BoundaryFile& in, int64_t tokens) {
  if (options_.cancel != nullptr && options_.cancel->load()) return Cancelled("interrupted");
  const int64_t all = std::ssize(options_.samples);
  const int64_t step = std::max<int64_t>(1, batches_.num_tokens / tokens);
  hidden_.resize(static_cast<size_t>(batches_.max_tokens * hidden_size()));
  std::vector<int64_t> lengths;
  Rows rows{.values = hidden_.data()};
  int64_t row = 0;  // of sample i
  for (int64_t i = 0; i < all; ++i) {
    const int64_t length = std::ssize(options_.samples[static_cast<size_t>(i)]);
    const bool fits = rows.count + length <= batches_.max_tokens && std::ssize(lengths) < batches_.max_samples;
    if (i % step == 0 && fits && rows.count < tokens) {
      OCTAVO_RETURN_IF_ERROR(in.Read(row, length, hidden_.data() + rows.count * hidden_size()));
      lengths.push_back(length);
      rows.count += length;
    }
    row += length;
  }
  OCTAVO_RETURN_IF_ERROR(model_.RunLayer(lengths, hidden_.data(), {}));
  return rows;
}

}  // namespace octavo
