// SPDX-License-Identifier: Apache-2.0
// LLM_INT8: LLM.int8(), arXiv:2208.07339, stored as bitsandbytes stores it (bitsandbytes_form.h): int8
// weights by row, int8 activations by token, and activations beyond a threshold in 16 bit.
//
// Differs from the paper: outliers are chosen per token and not per batch (kernels/gemm/outlier_product.h),
// and meet int8 columns, as in bitsandbytes, unless calibration kept the 16-bit ones
// (TargetModule::kept_columns).
#include <algorithm>
#include <cmath>
#include <span>

#include "base/float16.h"
#include "schemes/bitsandbytes_form.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

// As bitsandbytes: the weight in half precision, q = rne(w * (1 / absmax * 127)), each step rounded to f32:
// torch divides a number by a tensor by way of the reciprocal.
Status Quantize(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                QuantizedRows& rows) {
  const int64_t k = module.k;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * k));
  rows.scales.resize(static_cast<size_t>(count));
  rows.kept.clear();
  std::vector<float> halves(static_cast<size_t>(k));
  for (int64_t row = 0; row < count; ++row) {
    const float* values = x + row * k;
    std::transform(values, values + k, halves.begin(),
                   [](float value) { return RoundToDType(DType::kF16, value); });
    OCTAVO_ASSIGN_OR_RETURN(const float absmax, AbsMax(module, halves.data(), row_begin + row, 1));
    rows.scales[static_cast<size_t>(row)] = absmax;
    const float inverse = absmax > 0 ? 1.0f / absmax * 127.0f : 0.0f;
    for (int64_t i = 0; i < k; ++i) {
      const auto q = static_cast<int8_t>(std::nearbyintf(halves[static_cast<size_t>(i)] * inverse));
      rows.codes[static_cast<size_t>(row * k + i)] = static_cast<uint8_t>(q);
    }
    for (const int32_t column : module.kept_columns) rows.kept.push_back(F32ToBf16(values[column]));
  }
  return Status::Ok();
}

std::vector<TensorSpec> Tensors(const TargetModule& module) {
  std::vector<TensorSpec> specs = {{module.name + ".weight", DType::kI8, Shape{module.n, module.k}},
                                   {module.name + ".SCB", DType::kF32, Shape{module.n}},
                                   {module.name + ".weight_format", DType::kU8, Shape{}}};
  if (module.kept_columns.empty()) return specs;
  const auto columns = static_cast<int64_t>(module.kept_columns.size());
  specs.push_back({module.name + kOutlierColumns, DType::kI32, Shape{columns}});
  specs.push_back({module.name + kOutlierWeight, DType::kBF16, Shape{module.n, columns}});
  return specs;
}

template <typename T>
TensorPiece Piece(uint64_t offset, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {offset, {bytes.begin(), bytes.end()}};
}

void Encode(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
            std::vector<TensorPiece>& pieces) {
  const auto first = static_cast<uint64_t>(row_begin);
  const bool start = row_begin == 0;
  pieces.clear();
  pieces.push_back(Piece<uint8_t>(first * static_cast<uint64_t>(module.k), rows.codes));
  pieces.push_back(Piece<float>(first * sizeof(float), rows.scales));
  pieces.push_back({0, std::vector<std::byte>(start ? 1 : 0)});  // 0: by rows
  if (module.kept_columns.empty()) return;
  pieces.push_back(start ? Piece<int32_t>(0, module.kept_columns) : TensorPiece{});
  pieces.push_back(Piece<uint16_t>(first * module.kept_columns.size() * sizeof(uint16_t), rows.kept));
}

WeightSpec SpecOf(const TargetModule& module) {
  return {.code = CodeType::kInt, .bits = 8, .scales = ScaleLayout::kChannel, .n = module.n, .k = module.k};
}

void ToWeightRows(const TargetModule& /*module*/, QuantizedRows& from, WeightRows& to) {
  to.count = from.count;
  to.codes.swap(from.codes);
  to.scales.swap(from.scales);
  for (float& scale : to.scales) scale *= kBnbInverse127;
}

}  // namespace

extern const Scheme kScheme_llm_int8;
constinit const Scheme kScheme_llm_int8 = {
    .name = "LLM_INT8",
    .summary = "bitsandbytes int8: int8 weights per channel, int8 activations per token, outliers in 16 bit",
    .online_name = "llm_int8",
    .method = "bitsandbytes",
    .format = "",
    .args = {.weights = {.num_bits = 8, .strategy = Strategy::kChannel},
             .input = QuantArgs{.num_bits = 8, .strategy = Strategy::kToken, .dynamic = true},
             .outlier_threshold = kDefaultOutlierThreshold},
    .matches = nullptr,
    .open = &OpenBnbInt8,
    .quantize = &Quantize,
    .tensors = &Tensors,
    .encode = &Encode,
    .spec = &SpecOf,
    .to_weight_rows = &ToWeightRows,
};

}  // namespace octavo
