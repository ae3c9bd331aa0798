// SPDX-License-Identifier: Apache-2.0
// Layers outside, windows inside; the streams between them are on disk.
#include "quality/layerwise_perplexity.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "metrics/log_probs.h"
#include "metrics/perplexity.h"
#include "quality/residual_stream.h"

namespace octavo {
namespace {

std::span<const int32_t> Window(const EvaluationText& text, int64_t index) {
  return std::span(text.tokens)
      .subspan(static_cast<size_t>(index * text.window), static_cast<size_t>(text.window));
}

// log p of every token of the window but the first.
Status Score(LayerwiseModel& model, std::span<const int32_t> tokens, const float* hidden, ThreadPool& pool,
             PerplexityMeter& meter) {
  const auto vocab_size = static_cast<size_t>(model.config().vocab_size);
  const int64_t scored = std::ssize(tokens) - 1;
  std::vector<float> logits(static_cast<size_t>(LayerwiseModel::kMaxLogitRows) * vocab_size);
  std::vector<double> log_probs(static_cast<size_t>(LayerwiseModel::kMaxLogitRows));
  for (int64_t begin = 0; begin < scored; begin += LayerwiseModel::kMaxLogitRows) {
    const int64_t count = std::min(LayerwiseModel::kMaxLogitRows, scored - begin);
    OCTAVO_RETURN_IF_ERROR(model.Logits(hidden + begin * model.config().hidden_size, count, logits.data()));
    pool.ParallelFor(count, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t row = first; row < last; ++row) {
        const auto at = static_cast<size_t>(row);
        log_probs[at] = LogProb(std::span(logits).subspan(at * vocab_size, vocab_size),
                                tokens[static_cast<size_t>(begin) + at + 1]);
      }
    });
    for (int64_t row = 0; row < count; ++row) meter.Add(log_probs[static_cast<size_t>(row)]);
  }
  return Status::Ok();
}

}  // namespace

Result<double> LayerwisePerplexity(LayerwiseModel& model, const EvaluationText& text, ThreadPool& pool,
                                   const LinearTap* tap, const std::atomic<bool>* cancel,
                                   const std::function<void()>& progress) {
  OCTAVO_ASSIGN_OR_RETURN(ResidualStream stream,
                          ResidualStream::Create("", text.window, model.config().hidden_size));
  std::vector<float> hidden(stream.size());
  for (int64_t w = 0; w < text.windows(); ++w) {
    OCTAVO_RETURN_IF_ERROR(model.Embed(Window(text, w), hidden.data()));
    OCTAVO_RETURN_IF_ERROR(stream.Write(w, hidden.data()));
  }
  for (int64_t layer = 0; layer < model.config().num_layers; ++layer) {
    OCTAVO_RETURN_IF_ERROR(model.LoadLayer(layer));
    for (int64_t w = 0; w < text.windows(); ++w) {
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return Cancelled("interrupted");
      OCTAVO_RETURN_IF_ERROR(stream.Read(w, hidden.data()));
      OCTAVO_RETURN_IF_ERROR(model.RunLayer(hidden.data(), text.window, tap));
      OCTAVO_RETURN_IF_ERROR(stream.Write(w, hidden.data()));
      if (progress) progress();
    }
  }
  OCTAVO_RETURN_IF_ERROR(model.LoadHead());
  PerplexityMeter meter;
  for (int64_t w = 0; w < text.windows(); ++w) {
    OCTAVO_RETURN_IF_ERROR(stream.Read(w, hidden.data()));
    meter.BeginWindow();
    OCTAVO_RETURN_IF_ERROR(Score(model, Window(text, w), hidden.data(), pool, meter));
  }
  return meter.perplexity();
}

}  // namespace octavo
