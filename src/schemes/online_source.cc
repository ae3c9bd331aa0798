// SPDX-License-Identifier: Apache-2.0
// Online quantization: a float matrix that is rounded to a scheme whenever rows of it are read.
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "base/float16.h"
#include "schemes/open_linear.h"
#include "schemes/rtn.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

// Rows as the 16-bit original has them.
Status ReadOriginal(const Checkpoint& checkpoint, const StoredTensor& tensor, int64_t row_begin,
                    int64_t count, std::vector<float>& x) {
  x.resize(static_cast<size_t>(count * tensor.cols()));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadRowsF32(tensor, row_begin, count, x.data()));
  if (tensor.ggml_type) {
    std::transform(x.begin(), x.end(), x.begin(), &RoundToBf16);
  }
  return Status::Ok();
}

class OnlineSource final : public WeightSource {
 public:
  OnlineSource(const Checkpoint& checkpoint, const StoredTensor& tensor, const Scheme& scheme,
               TargetModule target, ActivationChoice activation)
      : checkpoint_(checkpoint), tensor_(tensor), scheme_(scheme), target_(std::move(target)) {
    spec_ = scheme.spec(target_);
    info_ = {.name = tensor.name,
             .scheme = scheme.name,
             .activation = activation.format,
             .outlier_threshold = target_.args.outlier_threshold,
             .stored_bytes = tensor.bytes,
             .dequantized = target_.dtype,
             .note = "quantized while loading"};
    if (!activation.note.empty()) info_.note += "; " + activation.note;
    // vLLM and bitsandbytes keep these scales in f32; the others equal a checkpoint's.
    if (scheme.args.weights.strategy == Strategy::kTensor || scheme.method == "bitsandbytes") {
      info_.dequantized = DType::kF32;
    }
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    std::vector<float> x;
    OCTAVO_RETURN_IF_ERROR(ReadOriginal(checkpoint_, tensor_, row_begin, count, x));
    QuantizedRows quantized;
    quantized.codes.swap(rows.codes);  // keeps the caller's memory in use
    quantized.scales.swap(rows.scales);
    OCTAVO_RETURN_IF_ERROR(scheme_.quantize(target_, x.data(), row_begin, count, quantized));
    scheme_.to_weight_rows(target_, quantized, rows);
    return Status::Ok();
  }

 private:
  const Checkpoint& checkpoint_;
  const StoredTensor& tensor_;
  const Scheme& scheme_;
  TargetModule target_;
};

// The pass before the first row: max |w| over the tensor.
Status MeasureAbsMax(const Checkpoint& checkpoint, const StoredTensor& tensor, ThreadPool* pool,
                     TargetModule& target) {
  constexpr int64_t kRows = 64;
  std::mutex mutex;
  Status status;
  float absmax = 0;
  const auto measure = [&](int64_t begin, int64_t end, int /*thread*/) {
    std::vector<float> x;
    for (int64_t row = begin; row < end; row += kRows) {
      const int64_t count = std::min(kRows, end - row);
      Status step = ReadOriginal(checkpoint, tensor, row, count, x);
      float largest = 0;
      if (step.ok()) {
        auto result = AbsMax(target, x.data(), row, count);
        step = result.status();
        if (result.ok()) largest = *result;
      }
      const std::lock_guard lock(mutex);
      absmax = std::max(absmax, largest);
      if (status.ok()) status = std::move(step);
      if (!status.ok()) return;
    }
  };
  if (pool != nullptr) {
    pool->ParallelFor(target.n, kRows, measure);
  } else {
    measure(0, target.n, 0);
  }
  target.absmax = absmax;
  return status;
}

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenOnline(const Checkpoint& checkpoint,
                                                 const std::string& module,
                                                 const OnlineQuantization& online,
                                                 ThreadPool* pool) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor, FindTensor(checkpoint, module + ".weight"));
  if (tensor->shape.rank() != 2 || tensor->value_offset != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want a matrix [out, in]",
                                tensor->file->path(), tensor->name, tensor->shape.ToString()));
  }
  if (!tensor->ggml_type) {
    OCTAVO_RETURN_IF_ERROR(
        CheckTensor(*tensor, {DType::kBF16, DType::kF16, DType::kF32}, std::nullopt));
  }
  const Scheme& scheme = *online.scheme;
  TargetModule target{.name = module,
                      .n = tensor->rows(),
                      .k = tensor->cols(),
                      .dtype = tensor->ggml_type ? DType::kBF16 : tensor->dtype,
                      .args = scheme.args};
  if (online.outlier_threshold) target.args.outlier_threshold = *online.outlier_threshold;
  if (scheme.args.weights.strategy == Strategy::kGroup) {
    target.args.weights.group_size = online.group_size;
    if (online.group_size <= 0 || target.k % online.group_size != 0) {
      return InvalidArgument(fmt::format("tensor '{}': {} columns are no multiple of group size {}",
                                         tensor->name, target.k, online.group_size));
    }
  }
  if (scheme.args.weights.strategy == Strategy::kTensor) {
    OCTAVO_RETURN_IF_ERROR(MeasureAbsMax(checkpoint, *tensor, pool, target));
  }
  OCTAVO_ASSIGN_OR_RETURN(ActivationChoice activation, ChooseActivation(target.args));
  return std::unique_ptr<WeightSource>(std::make_unique<OnlineSource>(
      checkpoint, *tensor, scheme, std::move(target), std::move(activation)));
}

}  // namespace octavo
