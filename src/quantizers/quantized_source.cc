// SPDX-License-Identifier: Apache-2.0
// Sources over vectors.
#include "quantizers/quantized_source.h"

#include <cstring>
#include <utility>

#include "base/float16.h"
#include "schemes/dequantized_source.h"

namespace octavo {
namespace {

class QuantizedSource final : public WeightSource {
 public:
  QuantizedSource(const Scheme& scheme, TargetModule module, ActivationFormat activation,
                  std::shared_ptr<const QuantizedRows> rows)
      : scheme_(scheme), module_(std::move(module)), rows_(std::move(rows)) {
    spec_ = scheme.spec(module_);
    info_ = {.name = module_.name,
             .scheme = scheme.name,
             .activation = activation,
             .outlier_threshold = module_.args.outlier_threshold,
             .input_scale = module_.input_scale,
             .stored_bytes = rows_->codes.size(),
             .dequantized = module_.dtype,
             .note = {}};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    QuantizedRows slice = SliceRows(*rows_, row_begin, count);
    scheme_.to_weight_rows(module_, slice, rows);
    return Status::Ok();
  }

 private:
  const Scheme& scheme_;
  const TargetModule module_;
  const std::shared_ptr<const QuantizedRows> rows_;
};

class DenseSource final : public WeightSource {
 public:
  DenseSource(const std::string& module, int64_t n, int64_t k, std::vector<float> values)
      : values_(std::move(values)) {
    spec_.n = n;
    spec_.k = k;
    info_ = {.name = module,
             .scheme = "dense",
             .activation = ActivationFormat::kBf16,
             .stored_bytes = values_.size() * sizeof(uint16_t),
             .dequantized = DType::kF32,
             .note = {}};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    for (int64_t i = 0; i < count * spec_.k; ++i) {
      const uint16_t bits = F32ToBf16(values_[static_cast<size_t>(row_begin * spec_.k + i)]);
      std::memcpy(&rows.codes[static_cast<size_t>(2 * i)], &bits, sizeof bits);
    }
    return Status::Ok();
  }

 private:
  const std::vector<float> values_;
};

}  // namespace

QuantizedRows SliceRows(const QuantizedRows& rows, int64_t begin, int64_t count) {
  QuantizedRows slice;
  slice.count = count;
  // Every array has the same number of elements for each row.
  const auto cut = [&](const auto& from, auto& to) {
    const auto per_row = static_cast<std::ptrdiff_t>(from.size()) / rows.count;
    to.assign(from.begin() + begin * per_row, from.begin() + (begin + count) * per_row);
  };
  cut(rows.codes, slice.codes);
  cut(rows.scales, slice.scales);
  cut(rows.zero_points, slice.zero_points);
  cut(rows.scales2, slice.scales2);
  cut(rows.zeros2, slice.zeros2);
  return slice;
}

Result<std::unique_ptr<WeightSource>> MakeQuantizedSource(const Scheme& scheme,
                                                          const TargetModule& module,
                                                          std::shared_ptr<const QuantizedRows> rows) {
  OCTAVO_ASSIGN_OR_RETURN(const ActivationChoice activation, ChooseActivation(module.args));
  return std::unique_ptr<WeightSource>(
      std::make_unique<QuantizedSource>(scheme, module, activation.format, std::move(rows)));
}

Result<std::unique_ptr<WeightSource>> OpenOriginal(const LinearLoader& linears,
                                                   const Checkpoint& checkpoint,
                                                   const std::string& module) {
  OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<WeightSource> source, linears.OpenLinear(module));
  if (checkpoint.is_gguf()) source = MakeBf16Source(std::move(source));
  return source;
}

std::unique_ptr<WeightSource> MakeDenseSource(const std::string& module, int64_t n, int64_t k,
                                              std::vector<float> values) {
  return std::make_unique<DenseSource>(module, n, k, std::move(values));
}

}  // namespace octavo
