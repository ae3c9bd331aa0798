// SPDX-License-Identifier: Apache-2.0
// How large each input channel of a linear layer gets: what makes activations hard to quantize.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/activation.h"

namespace octavo {

// Magnitude from which LLM.int8() (arXiv:2208.07339, section 3.2) calls a value an outlier.
inline constexpr float kOutlierThreshold = 6.0f;

// Values of one row as the layer sees them: out [x.cols].
void DecodeActivationRow(const ActivationView& x, int64_t row, float* out);

class ChannelStats {
 public:
  // Adds all rows; every call has the same number of columns.
  void Add(const ActivationView& x);

  int64_t rows() const { return rows_; }
  std::span<const float> max_abs() const { return max_abs_; }  // [k]
  // [k], rows in which the channel's magnitude reaches kOutlierThreshold.
  std::span<const int32_t> outlier_rows() const { return outlier_rows_; }

  // Largest max_abs over the median one: 1 where all channels are alike. 0 before any row.
  double spread() const;

 private:
  int64_t rows_ = 0;
  std::vector<float> max_abs_;
  std::vector<int32_t> outlier_rows_;
  std::vector<float> row_;
};

}  // namespace octavo
