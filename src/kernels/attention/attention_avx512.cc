// SPDX-License-Identifier: Apache-2.0
// Attention with AVX-512 and f32 arithmetic.
#include "kernels/attention/dot_avx512.h"

#include "kernels/attention/attention_tile-inl.h"

namespace octavo {

extern const AttentionKernel kAttention_attention_avx512;
constinit const AttentionKernel kAttention_attention_avx512 = {
    "attention_avx512", IsaLevel::kAvx512, AttendTile<DotF32, DotBf16>, MergePartials<F32x16>};

}  // namespace octavo
