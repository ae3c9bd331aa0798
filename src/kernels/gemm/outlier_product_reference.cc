// SPDX-License-Identifier: Apache-2.0
// The textbook loops of the outlier product.
#include "base/float16.h"
#include "kernels/gemm/outlier_product.h"

namespace octavo {
namespace {

void Accumulate(const float* columns, int channels, const OutlierTerm* terms, int64_t count, float* sum) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = Bf16ToF32(terms[i].value);
    const float* w = columns + terms[i].slot * channels;
    for (int c = 0; c < channels; ++c) sum[c] = __builtin_fmaf(x, w[c], sum[c]);
  }
}

void Add(const float* sum, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += sum[i];
}

}  // namespace

const OutlierOps kOutlierOps_reference = {Accumulate, Add};

}  // namespace octavo
