// SPDX-License-Identifier: Apache-2.0
// FP8_ONLINE: vLLM's `--quantization fp8`, which rounds a 16-bit checkpoint while it is loaded: E4M3
// weights with one f32 scale per matrix, E4M3 activations per token.
#include <algorithm>

#include "base/float16.h"
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

// An f32 scale with vLLM's floor, and a multiplication by the reciprocal.
Status QuantizeOnline(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                      QuantizedRows& rows) {
  OCTAVO_RETURN_IF_ERROR(AbsMax(module, x, row_begin, count).status());
  constexpr float kMinScale = 1.0f / (kE4M3Max * 512.0f);
  const float scale = std::max(module.absmax / kE4M3Max, kMinScale);
  const float reciprocal = 1.0f / scale;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * module.k));
  rows.scales.assign(static_cast<size_t>(count), scale);
  for (size_t i = 0; i < rows.codes.size(); ++i) rows.codes[i] = F32ToE4M3(x[i] * reciprocal);
  return Status::Ok();
}

}  // namespace

extern const Scheme kScheme_fp8_online;
constinit const Scheme kScheme_fp8_online = {
    .name = "FP8_ONLINE",
    .summary = "E4M3 weights per tensor, E4M3 activations per token, while loading",
    .online_name = "fp8",
    .method = "",
    .format = "",
    .args = {.weights = {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kTensor},
             .input = QuantArgs{.num_bits = 8,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kToken,
                               .dynamic = true}},
    .quantize = &QuantizeOnline,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
