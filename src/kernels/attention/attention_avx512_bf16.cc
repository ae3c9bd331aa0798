// SPDX-License-Identifier: Apache-2.0
// Attention with AVX512_BF16: one instruction per 32 products, and codes decoded by byte permutes.
#include "kernels/attention/dot_avx512_bf16.h"

#include "kernels/attention/attention_tile-inl.h"

namespace octavo {

extern const AttentionKernel kAttention_attention_avx512_bf16;
constinit const AttentionKernel kAttention_attention_avx512_bf16 = {
    "attention_avx512_bf16", IsaLevel::kAvx512Bf16, AttendTile<DotF32, DotBf16Native>,
    MergePartials<F32x16>};

}  // namespace octavo
