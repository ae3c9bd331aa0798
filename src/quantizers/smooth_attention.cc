// SPDX-License-Identifier: Apache-2.0
// Keys of calibration tokens, and the folding of their scales.
#include "quantizers/smooth_attention.h"

#include <algorithm>
#include <cmath>
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
  OCTAVO_ASSIGN_OR_RETURN(observer.weight_, product.Pack({weight.data(), n, k, k}, false, 1.0f));
  observer.absmax_.resize(static_cast<size_t>(n));
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
      const int64_t half = rotary_dim_ / 2;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t dim = i % head_dim_;
        const bool turns = dim < rotary_dim_;
        const int64_t other = !turns ? i : dim < half ? i + half : i - half;
        const float length = turns ? std::hypot(key[i], key[other]) : std::fabs(key[i]);
        float& max = absmax_[static_cast<size_t>(i)];
        max = std::max(max, length);
      }
    }
  }
  return Status::Ok();
}

std::vector<float> SmoothAttentionScales(const std::vector<float>& key_absmax, double strength) {
  std::vector<float> scales;
  for (const float max : key_absmax) {
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
