// SPDX-License-Identifier: Apache-2.0
// Expands rows as they are read.
#include "schemes/dequantized_source.h"

#include <cstring>
#include <utility>
#include <vector>

#include "base/float16.h"

namespace octavo {
namespace {

class Bf16Source final : public FloatSource {
 public:
  explicit Bf16Source(std::unique_ptr<WeightSource> source) : source_(std::move(source)) {
    info_ = source_->info();
    info_.note = "expanded to bf16";
    SetFloatSpec(DType::kBF16, source_->spec().n, source_->spec().k);
  }

  // What kernels compute with, so that reports of the error are of the run.
  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(source_->DequantizeRows(row_begin, count, out));
    for (int64_t i = 0; i < count * spec_.k; ++i) out[i] = RoundToBf16(out[i]);
    return Status::Ok();
  }

 private:
  std::unique_ptr<WeightSource> source_;
};

}  // namespace

void FloatSource::SetFloatSpec(DType type, int64_t n, int64_t k) {
  const bool bf16 = type == DType::kBF16;
  spec_ = {.code = bf16 ? CodeType::kBf16 : CodeType::kF32, .bits = bf16 ? 16 : 32, .n = n, .k = k};
  info_.activation = bf16 ? ActivationFormat::kBf16 : ActivationFormat::kF32;
}

Status FloatSource::ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const {
  OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
  std::vector<float> values(static_cast<size_t>(count * spec_.k));
  OCTAVO_RETURN_IF_ERROR(DequantizeRows(row_begin, count, values.data()));
  rows.Resize(spec_, count);
  if (spec_.code == CodeType::kF32) {
    std::memcpy(rows.codes.data(), values.data(), values.size() * sizeof(float));
    return Status::Ok();
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = F32ToBf16(values[i]);
    std::memcpy(&rows.codes[2 * i], &bits, sizeof bits);
  }
  return Status::Ok();
}

std::unique_ptr<WeightSource> MakeBf16Source(std::unique_ptr<WeightSource> source) {
  if (source->spec().code == CodeType::kBf16) return source;
  return std::make_unique<Bf16Source>(std::move(source));
}

}  // namespace octavo
