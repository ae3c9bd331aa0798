// SPDX-License-Identifier: Apache-2.0
// f32 activations x f32 weights with 256-bit FMAs: 6 x 16 tiles over panels [k][16].
#include "kernels/gemm/simd_avx2.h"
//
#include "kernels/gemm/f32_dot_avx2.h"

namespace octavo {
namespace {

using Kernel = Dense<F32Dot>;

bool Accepts(const WeightSpec& w, ActivationFormat format) {
  return AcceptsF32Product(w, format, CodeType::kF32);
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  PackScales(rows.scales.data(), rows.scales.size(), 1, Kernel::kChannels, reinterpret_cast<float*>(panel));
  PackDwords(rows.codes.data(), w.k * 4, Kernel::kChannels, Kernel::Steps(w), panel + Kernel::kHeader);
}

}  // namespace

extern const GemmKernel kGemm_gemm_f32_avx2;
const GemmKernel kGemm_gemm_f32_avx2 = {
    .name = "gemm_f32_avx2",
    .isa = IsaLevel::kAvx2,
    .accepts = Accepts,
    .panel_channels = Kernel::kChannels,
    .panel_bytes = Kernel::PanelBytes,
    .pack = Pack,
    .run = Kernel::Run,
};

}  // namespace octavo
