// SPDX-License-Identifier: Apache-2.0
// Shape arithmetic.
#include "tensor/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"

namespace octavo {
namespace {
constexpr uint64_t kMaxElements = uint64_t{1} << 62;
}  // namespace

Shape::Shape(std::initializer_list<int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  OCTAVO_CHECK(rank_ <= kMaxRank);
  OCTAVO_CHECK(std::all_of(dims.begin(), dims.end(), [](int64_t dim) { return dim >= 0; }));
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

Result<Shape> Shape::FromDims(std::span<const uint64_t> dims) {
  if (dims.size() > kMaxRank) {
    return InvalidArgument(
        fmt::format("shape of {} dimensions, want at most {}", dims.size(), kMaxRank));
  }
  Shape shape;
  shape.rank_ = static_cast<int>(dims.size());
  // Zero dimensions are left out of the bound: later products may drop them (rows(), cols()).
  uint64_t product = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const uint64_t factor = std::max<uint64_t>(dims[i], 1);
    if (factor > kMaxElements / product) {
      return InvalidArgument(fmt::format("shape [{}] overflows", fmt::join(dims, ", ")));
    }
    product *= factor;
    shape.dims_[i] = static_cast<int64_t>(dims[i]);
  }
  return shape;
}

std::optional<int64_t> Shape::CheckedNumElements() const {
  uint64_t product = 1;
  for (const int64_t dim : dims()) {
    if (dim == 0) return 0;
    if (static_cast<uint64_t>(dim) > kMaxElements / product) return std::nullopt;
    product *= static_cast<uint64_t>(dim);
  }
  return static_cast<int64_t>(product);
}

int64_t Shape::NumElements() const {
  const std::optional<int64_t> count = CheckedNumElements();
  OCTAVO_CHECK(count.has_value());
  return *count;
}

int64_t Shape::rows() const {
  if (rank_ == 0) return 1;
  int64_t product = dims_[0];
  for (int i = 1; i + 1 < rank_; ++i) product *= dims_[static_cast<size_t>(i)];
  return product;
}

std::string Shape::ToString() const { return fmt::format("[{}]", fmt::join(dims(), ", ")); }

}  // namespace octavo
