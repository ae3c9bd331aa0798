// SPDX-License-Identifier: Apache-2.0
// Angles of the first positions of a chunk, which all layers and heads share; see key_offset.h.
#pragma once

#include <span>

#include "base/aligned_buffer.h"

namespace octavo {

// cos and sin of r * inv_freq for r < kAttentionChunk as bf16, in the order of a bf16 page of K with
// KeyOffsetDims() dims.
Result<AlignedBuffer> MakeNearAngles(std::span<const float> inv_freq);

}  // namespace octavo
