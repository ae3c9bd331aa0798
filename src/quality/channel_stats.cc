// SPDX-License-Identifier: Apache-2.0
// Decodes activations and accumulates per-channel maxima.
#include "quality/channel_stats.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/float16.h"

namespace octavo {

void DecodeActivationRow(const ActivationView& x, int64_t row, float* out) {
  const auto bf16 = [&](int64_t i) { return Bf16ToF32(x.Row<uint16_t>(row)[i]); };
  switch (x.spec.format) {
    case ActivationFormat::kF32:
      std::copy_n(x.Row<float>(row), x.cols, out);
      return;
    case ActivationFormat::kBf16:
      for (int64_t i = 0; i < x.cols; ++i) out[i] = bf16(i);
      return;
    case ActivationFormat::kInt8:
      for (int64_t i = 0; i < x.cols; ++i) {
        out[i] = static_cast<float>(x.Row<int8_t>(row)[i]) * x.scales[row];
      }
      for (int64_t i = 0; i < (x.outliers == nullptr ? 0 : x.outlier_counts[row]); ++i) {
        const OutlierValue& outlier = x.outliers[row * x.cols + i];
        out[outlier.column] = Bf16ToF32(outlier.value);
      }
      return;
    case ActivationFormat::kInt8Group32:
      for (int64_t i = 0; i < x.cols; ++i) {
        out[i] = static_cast<float>(x.Row<int8_t>(row)[i]) * x.scales[row * x.scales_per_row() + i / 32];
      }
      return;
    case ActivationFormat::kFp8:
    case ActivationFormat::kFp8Group128: {
      const int64_t per_row = x.scales_per_row();
      const float* scales = x.scales + row * per_row;
      for (int64_t i = 0; i < x.cols; ++i) out[i] = bf16(i) * scales[per_row == 1 ? 0 : i / 128];
      return;
    }
  }
}

void ChannelStats::Add(const ActivationView& x) {
  const auto cols = static_cast<size_t>(x.cols);
  OCTAVO_CHECK(max_abs_.empty() || max_abs_.size() == cols);
  max_abs_.resize(cols);
  outlier_rows_.resize(cols);
  row_.resize(cols);
  for (int64_t row = 0; row < x.rows; ++row) {
    DecodeActivationRow(x, row, row_.data());
    for (size_t i = 0; i < cols; ++i) {
      const float magnitude = std::fabs(row_[i]);
      max_abs_[i] = std::max(max_abs_[i], magnitude);
      outlier_rows_[i] += magnitude >= kOutlierThreshold ? 1 : 0;
    }
  }
  rows_ += x.rows;
}

double ChannelStats::spread() const {
  if (rows_ == 0 || max_abs_.empty()) return 0;
  std::vector<float> sorted = max_abs_;
  const auto middle = sorted.begin() + std::ssize(sorted) / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  const float largest = *std::max_element(max_abs_.begin(), max_abs_.end());
  return *middle > 0 ? static_cast<double>(largest / *middle) : 0;
}

}  // namespace octavo
