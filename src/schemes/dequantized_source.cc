// SPDX-License-Identifier: Apache-2.0
// Expands rows as they are read.
#include "schemes/dequantized_source.h"

#include <cstring>
#include <utility>
#include <vector>

#include "base/float16.h"

namespace octavo {
namespace {

class Bf16Source : public WeightSource {
 public:
  explicit Bf16Source(std::unique_ptr<WeightSource> source) : source_(std::move(source)) {
    info_ = source_->info();
    info_.activation = ActivationFormat::kBf16;
    info_.note = "expanded to bf16";
    spec_ = {.code = CodeType::kBf16, .bits = 16, .n = source_->spec().n, .k = source_->spec().k};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    std::vector<float> values(static_cast<size_t>(count * spec_.k));
    OCTAVO_RETURN_IF_ERROR(source_->DequantizeRows(row_begin, count, values.data()));
    rows.Resize(spec_, count);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = F32ToBf16(values[i]);
      std::memcpy(&rows.codes[2 * i], &bits, sizeof bits);
    }
    return Status::Ok();
  }

 private:
  std::unique_ptr<WeightSource> source_;
};

}  // namespace

std::unique_ptr<WeightSource> MakeBf16Source(std::unique_ptr<WeightSource> source) {
  if (source->spec().code == CodeType::kBf16) return source;
  return std::make_unique<Bf16Source>(std::move(source));
}

}  // namespace octavo
