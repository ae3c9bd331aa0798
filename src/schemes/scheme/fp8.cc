// SPDX-License-Identifier: Apache-2.0
// FP8: E4M3 weights with one scale per tensor, E4M3 activations.
//
// Checkpoints come from compressed-tensors and from `quant_method: fp8`. Writing one takes calibrated
// activation scales, so only the online form quantizes here: vLLM's `--quantization fp8`.
#include <algorithm>

#include "base/float16.h"
#include "schemes/compressed_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

bool Matches(const SchemeArgs& args) {
  return args.weights.type == QuantType::kFloat && args.weights.num_bits == 8 &&
         args.weights.symmetric &&
         args.weights.strategy == Strategy::kTensor && args.input;
}

// vLLM's online quantization: an f32 scale with its floor, and a multiplication by the reciprocal.
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

extern const Scheme kScheme_fp8;
constinit const Scheme kScheme_fp8 = {
    .name = "FP8",
    .summary = "E4M3 weights per tensor, E4M3 activations",
    .online_name = "fp8",
    .method = "",
    .format = "float-quantized",
    .args = {.weights = {.num_bits = 8, .type = QuantType::kFloat, .strategy = Strategy::kTensor},
             .input = QuantArgs{.num_bits = 8,
                               .type = QuantType::kFloat,
                               .strategy = Strategy::kTensor}},
    .matches = &Matches,
    .open = &OpenCompressed,
    .quantize = &QuantizeOnline,
    .spec = &CompressedSpec,
    .to_weight_rows = &CompressedToWeightRows,
};

}  // namespace octavo
