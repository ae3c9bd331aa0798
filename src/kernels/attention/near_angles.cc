// SPDX-License-Identifier: Apache-2.0
// The table of near angles.
#include "kernels/attention/near_angles.h"

#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "kernels/attention/key_offset.h"
#include "kernels/attention/kv_layout.h"

namespace octavo {

Result<AlignedBuffer> MakeNearAngles(std::span<const float> inv_freq) {
  const int half = static_cast<int>(inv_freq.size());
  const int dims = KeyOffsetDims(2 * half);
  OCTAVO_ASSIGN_OR_RETURN(
      AlignedBuffer table,
      AlignedBuffer::Allocate(size_t{kAttentionChunk} * static_cast<size_t>(dims) * sizeof(uint16_t)));
  std::memset(table.data(), 0, table.size());
  const auto put = [&](int token, int dim, double x) {
    const uint16_t value = F32ToBf16(static_cast<float>(x));
    std::memcpy(table.data() + KvPlaceOf(KvDType::kBf16, token, dim, dims).byte, &value, sizeof value);
  };
  for (int token = 0; token < kAttentionChunk; ++token) {
    for (int i = 0; i < half; ++i) {
      const double angle = static_cast<double>(token) * inv_freq[static_cast<size_t>(i)];
      put(token, i, std::cos(angle));
      put(token, dims / 2 + i, std::sin(angle));
    }
  }
  return table;
}

}  // namespace octavo
