// SPDX-License-Identifier: Apache-2.0
// The kernels of this build and which one serves a (weight, activation) pair.
#include <array>

#include "kernels/gemm/gemm.h"

namespace octavo {

#define OCTAVO_GEMM_KERNEL(stem) extern const GemmKernel kGemm_##stem;
#include "gemm_list.inc"
#undef OCTAVO_GEMM_KERNEL

std::span<const GemmKernel* const> AllGemmKernels() {
#define OCTAVO_GEMM_KERNEL(stem) &kGemm_##stem,
  static constexpr std::array kKernels = {
#include "gemm_list.inc"
  };
#undef OCTAVO_GEMM_KERNEL
  return kKernels;
}

bool IsLegalPair(const WeightSpec& weight, ActivationFormat format) {
  const bool is_int = weight.code == CodeType::kInt;
  const bool is_group = weight.scales == ScaleLayout::kGroup;
  const bool is_two_level = weight.scales == ScaleLayout::kTwoLevel;
  if (weight.n <= 0 || weight.k <= 0) return false;
  if ((is_group || is_two_level) != (weight.group_size > 0)) return false;
  if (weight.has_min && !(is_int && is_group)) return false;
  if (is_two_level && !is_int) return false;
  switch (format) {
    case ActivationFormat::kF32: return !is_two_level;
    case ActivationFormat::kInt8: return is_int;
    case ActivationFormat::kInt8Group32:
      // A group of the weight lies within one group of the activations.
      return is_int && is_group && (weight.group_size == 16 || weight.group_size == 32);
    case ActivationFormat::kFp8Group128:
      // A min would need its own product with the token's group scale; no format asks for that.
      if (weight.has_min || (is_group && weight.group_size != 128)) return false;
      [[fallthrough]];
    case ActivationFormat::kBf16:
    case ActivationFormat::kFp8: break;
  }
  if (is_group && weight.group_size % 8 != 0 && weight.group_size < weight.k) return false;
  return weight.code != CodeType::kF32 && weight.code != CodeType::kF16 && !is_two_level;
}

const GemmKernel* FindGemmKernel(const WeightSpec& weight, ActivationFormat format, IsaLevel isa) {
  const GemmKernel* best = nullptr;
  for (const GemmKernel* kernel : AllGemmKernels()) {
    if (kernel->isa > isa || (best != nullptr && kernel->isa <= best->isa)) continue;
    if (kernel->accepts(weight, format)) best = kernel;
  }
  return best;
}

}  // namespace octavo
