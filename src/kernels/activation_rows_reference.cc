// SPDX-License-Identifier: Apache-2.0
// The textbook row encoders: they define the numbers (activation.h).
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/float16.h"
#include "kernels/activation_rows.h"

namespace octavo {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float AbsMax(const float* x, int64_t count) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    bits = std::max(bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);  // NaN above infinity
  }
  return std::bit_cast<float>(bits);
}

template <typename Value>
void SumGroupsF32(const ActivationRow& r, const Value& value) {
  if (r.sum_group == 0) return;
  for (int64_t begin = 0, g = 0; begin < r.cols; begin += r.sum_group, ++g) {
    const int64_t end = std::min(begin + r.sum_group, r.cols);
    float lanes[16] = {};
    for (int64_t i = begin; i < end; ++i) lanes[(i - begin) % 16] += value(i);
    for (int half = 8; half >= 1; half /= 2) {
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    }
    r.group_sums_f32[g] = lanes[0];
  }
}

void SumGroupsBf16(const ActivationRow& r) {
  const auto* q = static_cast<const uint16_t*>(r.out);
  SumGroupsF32(r, [q](int64_t i) { return Bf16ToF32(q[i]); });
}

void EncodeF32(const ActivationRow& r) {
  auto* out = static_cast<float*>(r.out);
  std::copy_n(r.x, r.cols, out);
  SumGroupsF32(r, [out](int64_t i) { return out[i]; });
}

void EncodeBf16(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  for (int64_t i = 0; i < r.cols; ++i) out[i] = F32ToBf16(r.x[i]);
  SumGroupsBf16(r);
}

void EncodeInt8(const ActivationRow& r) {
  auto* out = static_cast<int8_t*>(r.out);
  const float amax = std::max(AbsMax(r.x, r.cols), kInt8MinAmax);
  const bool finite = std::isfinite(amax);
  float inverse = 127.0f / amax;
  r.scales[0] = finite ? amax / 127.0f : kNan;
  if (r.static_scale > 0) {
    inverse = 1.0f / r.static_scale;
    r.scales[0] = finite ? r.static_scale : kNan;
  }
  int32_t row_sum = 0;
  if (r.sum_group > 0) std::fill_n(r.group_sums, (r.cols + r.sum_group - 1) / r.sum_group, 0);
  for (int64_t i = 0; i < r.cols; ++i) {
    const float q = std::clamp(r.x[i] * inverse, -127.0f, 127.0f);
    out[i] = finite ? static_cast<int8_t>(std::nearbyintf(q)) : int8_t{0};
    row_sum += out[i];
    if (r.sum_group > 0) r.group_sums[i / r.sum_group] += out[i];
  }
  r.row_sum[0] = row_sum;
}

void EncodeInt8Group32(const ActivationRow& r) {
  auto* out = static_cast<int8_t*>(r.out);
  for (int64_t begin = 0; begin < r.cols; begin += 32) {
    const int64_t end = std::min<int64_t>(begin + 32, r.cols);
    const float amax = std::max(AbsMax(r.x + begin, end - begin), kInt8MinAmax);
    const bool finite = std::isfinite(amax);
    const float inverse = 127.0f / amax, scale = finite ? amax / 127.0f : kNan;
    r.scales[begin / 32] = scale;
    for (int64_t i = begin; i < end; ++i) {
      out[i] = finite ? static_cast<int8_t>(std::nearbyintf(r.x[i] * inverse)) : int8_t{0};
    }
    if (r.sum_group == 0) continue;
    for (int64_t i = begin; i < end; i += r.sum_group) {
      int32_t sum = 0;
      for (int64_t j = i; j < std::min(i + r.sum_group, end); ++j) sum += out[j];
      r.group_sums[i / r.sum_group] = sum;
      r.group_sums_f32[i / r.sum_group] = static_cast<float>(sum) * scale;
    }
  }
}

void EncodeFp8(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  const float amax = AbsMax(r.x, r.cols);
  const bool finite = std::isfinite(amax);
  const float scale =
      r.static_scale > 0 ? r.static_scale : std::max(amax / 448.0f, kFp8MinScale);
  const float inverse = 1.0f / scale;
  r.scales[0] = finite ? scale : kNan;
  for (int64_t i = 0; i < r.cols; ++i) {
    out[i] = finite ? F32ToBf16(E4M3ToF32(F32ToE4M3(r.x[i] * inverse))) : uint16_t{0};
  }
  SumGroupsBf16(r);
}

void EncodeFp8Group128(const ActivationRow& r) {
  auto* out = static_cast<uint16_t*>(r.out);
  for (int64_t begin = 0; begin < r.cols; begin += 128) {
    const int64_t end = std::min(begin + 128, r.cols);
    const float amax = AbsMax(r.x + begin, end - begin);
    const bool finite = std::isfinite(amax);
    const float scale = std::max(amax / 448.0f, kFp8MinScale);
    r.scales[begin / 128] = finite ? scale : kNan;
    for (int64_t i = begin; i < end; ++i) {
      out[i] = finite ? F32ToBf16(E4M3ToF32(F32ToE4M3(r.x[i] / scale))) : uint16_t{0};
    }
  }
  SumGroupsBf16(r);
}

}  // namespace

const ActivationEncoders kActivationEncoders_reference = {EncodeF32, EncodeBf16, EncodeInt8, EncodeFp8,
                                                          EncodeFp8Group128, EncodeInt8Group32};

}  // namespace octavo
