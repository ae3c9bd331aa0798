// SPDX-License-Identifier: Apache-2.0
// Compares matrices block by block.
#include "quality/weight_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

namespace octavo {
namespace {

constexpr int64_t kBlockElements = int64_t{1} << 18;

struct BlockResult {
  ErrorSums sums;
  double max_abs = 0;
};

Status MeasureBlock(const WeightSource& reference, const WeightSource& other, int64_t begin,
                    int64_t count, BlockResult& result) {
  const auto elements = static_cast<size_t>(count * reference.spec().k);
  std::vector<float> a(elements);
  std::vector<float> b(elements);
  OCTAVO_RETURN_IF_ERROR(reference.DequantizeRows(begin, count, a.data()));
  OCTAVO_RETURN_IF_ERROR(other.DequantizeRows(begin, count, b.data()));
  for (size_t i = 0; i < elements; ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    result.sums.Add(x, y);
    result.max_abs = std::max(result.max_abs, std::fabs(y - x));
  }
  return Status::Ok();
}

}  // namespace

void ErrorSums::Add(const ErrorSums& more) {
  difference_ += more.difference_;
  reference_ += more.reference_;
  other_ += more.other_;
  product_ += more.product_;
}

double ErrorSums::relative() const {
  return reference_ > 0 ? std::sqrt(difference_ / reference_)
                        : std::numeric_limits<double>::quiet_NaN();
}

double ErrorSums::cosine() const {
  const double norms = std::sqrt(reference_) * std::sqrt(other_);
  return norms > 0 ? product_ / norms : std::numeric_limits<double>::quiet_NaN();
}

Result<WeightError> MeasureWeightError(const WeightSource& reference, const WeightSource& other,
                                       ThreadPool& pool) {
  const int64_t n = reference.spec().n;
  const int64_t k = reference.spec().k;
  if (other.spec().n != n || other.spec().k != k) {
    return InvalidArgument(fmt::format("{} is [{}, {}], {} is [{}, {}]", reference.info().name, n, k,
                                       other.info().name, other.spec().n, other.spec().k));
  }
  const int64_t step = std::clamp<int64_t>(kBlockElements / std::max<int64_t>(k, 1), 1, n);
  std::vector<BlockResult> blocks(static_cast<size_t>((n + step - 1) / step));
  std::mutex mutex;
  Status status;
  pool.ParallelFor(std::ssize(blocks), 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t i = begin; i < end; ++i) {
      Status of_block = MeasureBlock(reference, other, i * step, std::min(step, n - i * step),
                                     blocks[static_cast<size_t>(i)]);
      if (of_block.ok()) continue;
      const std::lock_guard lock(mutex);
      if (status.ok()) status = std::move(of_block);
    }
  });
  OCTAVO_RETURN_IF_ERROR(status);
  BlockResult all;
  for (const BlockResult& block : blocks) {
    all.sums.Add(block.sums);
    all.max_abs = std::max(all.max_abs, block.max_abs);
  }
  return WeightError{all.sums.relative(), all.sums.cosine(), all.max_abs};
}

}  // namespace octavo
