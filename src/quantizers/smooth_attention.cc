// SPDX-License-Identifier: Apache-2.0
// Keys of calibration tokens, and the folding of their scales.
#include "quantizers/smooth_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/float16.h"
#include "quantizers/smoothing.h"

namespace octavo {
namespace {

constexpr int64_t kRows = 512;  // tokens at a time

}  // namespace

Result<KeyObserver> KeyObserver::Create(const Checkpoint& checkpoint, const LayerModule& k_proj,
                                        const ModelConfig& config, MatrixProduct& product) {
  KeyObserver observer;
  observer.head_dim_ = config.head_dim;
  observer.rotary_dim_ = config.rope.rotary_dim;
  const int64_t n = k_proj.tensor->rows();
  const int64_t k = k_proj.tensor->cols();
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> weight,
                          ReadOriginal(checkpoint, k_proj.tensor->name));
  OCTAVO_ASSIGN_OR_RETURN(observer.weight_, product.Pack({.b = {weight.data(), n, k, k}}));
  observer.has_bias_ = checkpoint.Find(k_proj.name + ".bias") != nullptr;
  observer.sum_.resize(static_cast<size_t>(n));
  observer.min_.resize(static_cast<size_t>(n), std::numeric_limits<float>::infinity());
  observer.max_.resize(static_cast<size_t>(n), -std::numeric_limits<float>::infinity());
  return observer;
}

Status KeyObserver::Add(const ActivationView& x, MatrixProduct& product) {
  const int64_t n = weight_.n();
  for (int64_t begin = 0; begin < x.rows; begin += kRows) {
    const int64_t count = std::min(kRows, x.rows - begin);
    rows_.resize(static_cast<size_t>(count * x.cols));
    keys_.resize(static_cast<size_t>(count * n));
    for (int64_t row = 0; row < count; ++row) {
      float* to = rows_.data() + row * x.cols;
      if (x.spec.format == ActivationFormat::kBf16) {
        const uint16_t* from = x.Row<uint16_t>(begin + row);
        std::transform(from, from + x.cols, to, Bf16ToF32);
      } else {
        std::copy_n(x.Row<float>(begin + row), x.cols, to);
      }
    }
    OCTAVO_RETURN_IF_ERROR(
        product.Multiply({rows_.data(), count, x.cols, x.cols}, weight_, keys_.data(), n, false));
    for (int64_t row = 0; row < count; ++row) {
      const float* key = keys_.data() + row * n;
      for (size_t i = 0; i < sum_.size(); ++i) {
        sum_[i] += static_cast<double>(key[i]);
        min_[i] = std::min(min_[i], key[i]);
        max_[i] = std::max(max_[i], key[i]);
      }
    }
    num_tokens_ += count;
  }
  return Status::Ok();
}

KeyStatistics KeyObserver::Statistics(bool centered) const {
  KeyStatistics statistics;
  statistics.center.resize(sum_.size());
  statistics.magnitude.resize(sum_.size());
  if (num_tokens_ == 0) return statistics;
  std::vector<float> length(sum_.size());
  for (size_t i = 0; i < sum_.size(); ++i) {
    float& center = statistics.center[i];
    if (centered && !has_bias_) center = static_cast<float>(sum_[i] / static_cast<double>(num_tokens_));
    length[i] = std::max(std::fabs(max_[i] - center), std::fabs(min_[i] - center));
  }
  const int64_t half = rotary_dim_ / 2;
  for (int64_t i = 0; i < std::ssize(length); ++i) {
    const int64_t dim = i % head_dim_;
    const auto at = static_cast<size_t>(i);
    const auto other = static_cast<size_t>(dim < half ? i + half : i - half);
    statistics.magnitude[at] = dim < rotary_dim_ ? std::hypot(length[at], length[other]) : length[at];
  }
  return statistics;
}

std::vector<float> SmoothAttentionScales(const std::vector<float>& magnitude, double strength) {
  std::vector<float> scales;
  for (const float max : magnitude) {
    const double exponent = max > 0 ? std::nearbyint(strength * std::log2(static_cast<double>(max))) : 0;
    scales.push_back(static_cast<float>(std::exp2(std::clamp(exponent, -20.0, 20.0))));
  }
  return scales;
}

Status FoldSmoothAttention(const Checkpoint& checkpoint, const LayerModule& q_proj,
                           const LayerModule& k_proj, const ModelConfig& config,
                           const std::vector<float>& scales, LayerTransform& transform) {
  const int64_t shared = config.num_heads / config.num_kv_heads;
  std::vector<float> of_queries;
  for (int64_t i = 0; i < int64_t{config.num_heads} * config.head_dim; ++i) {
    const int64_t key = i / config.head_dim / shared * config.head_dim + i % config.head_dim;
    of_queries.push_back(1.0f / scales[static_cast<size_t>(key)]);
  }
  OCTAVO_RETURN_IF_ERROR(DivideRows(checkpoint, k_proj, scales, transform));
  return DivideRows(checkpoint, q_proj, of_queries, transform);
}

}  // namespace octavo
