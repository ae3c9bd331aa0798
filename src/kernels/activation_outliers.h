// SPDX-License-Identifier: Apache-2.0
// The split of LLM.int8(): which values of a row leave the int8 product.
//
// Source: arXiv:2208.07339, section 3.2. Differs: the paper takes a column out of all rows of a batch as
// soon as one row has an outlier there; here each row is split by itself, so that a token's numbers do
// not depend on its batch.
#pragma once

#include <cstdint>

#include "kernels/activation.h"

namespace octavo {

inline constexpr int64_t kMaxOutlierCols = int64_t{1} << 16;  // a column is 16 bits

// Lists the values of `x` [cols] with |x| >= threshold in `outliers` (room for cols), ascending by
// column, and returns the row without them: `x` itself when there are none, else a copy with zeros in
// their places that is valid until this thread's next call. A row with NaN or infinity is left alone.
const float* SplitOutliers(const float* x, int64_t cols, float threshold, OutlierValue* outliers,
                           int32_t& count);

}  // namespace octavo
