// SPDX-License-Identifier: Apache-2.0
// Fetching the next panel while the tiles of this one are computed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace octavo {
namespace {

// How far ahead of their use few rows fetch codes that they decode: instructions between the loads keep the
// hardware's own prefetching from running far enough ahead. Measured at 1 to 12 rows: 4 KiB is too near, 16 no
// better.
inline constexpr int64_t kCodesAhead = 12 * 1024;

// Fetches a few lines into L2 with every kSteps steps of K: a burst would fill the queues that the tiles'
// own loads need.
class SpreadPrefetch {
 public:
  static constexpr int64_t kSteps = 8;

  // The share of tile `tile` of `tiles`, each of `steps`, in `lines` lines from `begin` on.
  SpreadPrefetch(const std::byte* begin, int64_t lines, int64_t tile, int64_t tiles, int64_t steps) {
    const int64_t calls = (steps + kSteps - 1) / kSteps;
    const int64_t per_call = (lines + tiles * calls - 1) / (tiles * calls);
    const int64_t done = tile * calls * per_call;
    at_ = begin + done * 64;
    per_call_ = done < lines ? per_call : 0;
  }

  [[gnu::always_inline]] void Fetch() {
    for (int64_t i = 0; i < per_call_; ++i, at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte* at_;
  int64_t per_call_;
};

// Asks for the lines that a tile will write, one row with every kSteps steps: results lie pages apart and are
// rarely in a cache, and a store that misses holds up all behind it.
template <int kLines>
class OutputPrefetch {
 public:
  OutputPrefetch(const GemmOutput& y, int64_t row, int64_t rows, int64_t n)
      : at_(y.out + row * y.row_stride + n), stride_(y.row_stride), rows_(rows) {}

  [[gnu::always_inline]] void Fetch() {
    if (rows_ <= 0) return;
    __builtin_prefetch(at_ + line_ * 16, 1, 3);
    if (++line_ < kLines) return;
    line_ = 0;
    at_ += stride_;
    --rows_;
  }

 private:
  const float* at_;
  int64_t stride_, rows_;
  int line_ = 0;
};

}  // namespace
}  // namespace octavo
