// SPDX-License-Identifier: Apache-2.0
// Sources over vectors.
#include "quantizers/quantized_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/float16.h"
#include "quantizers/layer_transform.h"
#include "quantizers/output_error.h"
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

// Values that are rounded to bf16 as they are read.
class Bf16Source : public WeightSource {
 public:
  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const final {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    std::vector<float> values(static_cast<size_t>(count * spec_.k));
    OCTAVO_RETURN_IF_ERROR(ReadValues(row_begin, count, values.data()));
    rows.Resize(spec_, count);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = F32ToBf16(values[i]);
      std::memcpy(&rows.codes[2 * i], &bits, sizeof bits);
    }
    return Status::Ok();
  }

 protected:
  Bf16Source(const std::string& module, int64_t n, int64_t k) {
    spec_.n = n;
    spec_.k = k;
    info_ = {.name = module,
             .scheme = "dense",
             .activation = ActivationFormat::kBf16,
             .stored_bytes = static_cast<uint64_t>(n * k) * sizeof(uint16_t),
             .dequantized = DType::kF32,
             .note = {}};
  }

 private:
  virtual Status ReadValues(int64_t row_begin, int64_t count, float* out) const = 0;
};

class DenseSource final : public Bf16Source {
 public:
  DenseSource(const std::string& module, int64_t n, int64_t k, std::vector<float> values)
      : Bf16Source(module, n, k), values_(std::move(values)) {}

 private:
  Status ReadValues(int64_t row_begin, int64_t count, float* out) const override {
    std::copy_n(values_.data() + row_begin * spec_.k, count * spec_.k, out);
    return Status::Ok();
  }

  const std::vector<float> values_;
};

class TrialSource final : public Bf16Source {
 public:
  TrialSource(const Checkpoint& checkpoint, const StoredTensor& tensor, const Scheme& scheme,
              const TargetModule& module, std::vector<float> scales)
      : Bf16Source(module.name, module.n, module.k), checkpoint_(checkpoint), tensor_(tensor), scheme_(scheme),
        module_(module), scales_(std::move(scales)) {}

 private:
  Status ReadValues(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, tensor_, row_begin, count, out));
    const auto k = static_cast<int64_t>(scales_.size());
    for (int64_t i = 0; i < count * k; ++i) out[i] *= scales_[static_cast<size_t>(i % k)];
    QuantizedRows rows;
    OCTAVO_RETURN_IF_ERROR(scheme_.quantize(module_, out, row_begin, count, rows));
    Dequantize(scheme_, module_, rows, out);
    for (int64_t i = 0; i < count * k; ++i) out[i] /= scales_[static_cast<size_t>(i % k)];
    return Status::Ok();
  }

  const Checkpoint& checkpoint_;
  const StoredTensor& tensor_;
  const Scheme& scheme_;
  const TargetModule& module_;
  const std::vector<float> scales_;
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

std::unique_ptr<WeightSource> MakeTrialSource(const Checkpoint& checkpoint, const StoredTensor& tensor,
                                              const Scheme& scheme, const TargetModule& module,
                                              std::vector<float> scales) {
  return std::make_unique<TrialSource>(checkpoint, tensor, scheme, module, std::move(scales));
}

}  // namespace octavo
