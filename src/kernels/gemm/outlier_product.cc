// SPDX-License-Identifier: Apache-2.0
// Blocks of rows against the columns in which any of them has an outlier.
#include "kernels/gemm/outlier_product.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/float16.h"
#include "kernels/activation_outliers.h"

namespace octavo {
namespace {

constexpr int64_t kRowBlock = 32;
constexpr int64_t kMaxSlots = 128;    // columns decoded at a time
constexpr int kMaxChannels = kMaxOutlierChannels;

// The columns of a block of rows, as a bitmap in which ranks are counted.
class ColumnSet {
 public:
  explicit ColumnSet(int64_t cols) : words_((cols + 63) / 64) {
    std::memset(bits_, 0, static_cast<size_t>(words_) * sizeof bits_[0]);
  }
  void Add(int64_t column) { bits_[column / 64] |= uint64_t{1} << (column % 64); }

  // Call once after the last Add.
  void Count() {
    int32_t before = 0;
    for (int64_t w = 0; w < words_; ++w) {
      before_[w] = before;
      before += std::popcount(bits_[w]);
    }
    size_ = before;
  }
  int64_t size() const { return size_; }

  // How many members are below `column`.
  int64_t Rank(int64_t column) const {
    const uint64_t below = (uint64_t{1} << (column % 64)) - 1;
    return before_[column / 64] + std::popcount(bits_[column / 64] & below);
  }

  // Members of rank [first, first + count).
  void List(int64_t first, int64_t count, uint16_t* columns) const {
    int64_t rank = 0;
    for (int64_t w = 0; w < words_ && rank < first + count; ++w) {
      const int members = std::popcount(bits_[w]);
      if (rank + members <= first) {
        rank += members;
        continue;
      }
      for (uint64_t left = bits_[w]; left != 0; left &= left - 1, ++rank) {
        if (rank < first || rank >= first + count) continue;
        columns[rank - first] = static_cast<uint16_t>(w * 64 + std::countr_zero(left));
      }
    }
  }

 private:
  static constexpr int64_t kWords = kMaxOutlierCols / 64;
  int64_t words_;
  int64_t size_ = 0;
  uint64_t bits_[kWords];
  int32_t before_[kWords];
};

// One block of rows and up to kMaxSlots of its columns.
class Block {
 public:
  Block(const ActivationView& x, int64_t row, int64_t rows) : x_(x), row_(row), rows_(rows), set_(x.cols) {
    for (int64_t m = 0; m < rows; ++m) {
      for (const OutlierValue& outlier : Outliers(m)) set_.Add(outlier.column);
    }
    set_.Count();
  }

  int64_t size() const { return set_.size(); }
  std::span<const uint16_t> columns() const { return {columns_, static_cast<size_t>(slots_)}; }
  std::span<const OutlierTerm> Terms(int64_t m) const {
    return {terms_ + begin_[m], static_cast<size_t>(begin_[m + 1] - begin_[m])};
  }

  // Takes the members of rank [first, first + kMaxSlots).
  void Select(int64_t first) {
    slots_ = std::min(kMaxSlots, set_.size() - first);
    set_.List(first, slots_, columns_);
    int32_t count = 0;
    for (int64_t m = 0; m < rows_; ++m) {
      begin_[m] = count;
      for (const OutlierValue& outlier : Outliers(m)) {
        if (outlier.column < columns_[0]) continue;
        if (outlier.column > columns_[slots_ - 1]) break;
        const int64_t slot = set_.Rank(outlier.column) - first;
        terms_[count++] = {static_cast<uint16_t>(slot), outlier.value};
      }
    }
    begin_[rows_] = count;
  }

 private:
  std::span<const OutlierValue> Outliers(int64_t m) const {
    return {x_.outliers + (row_ + m) * x_.cols, static_cast<size_t>(x_.outlier_counts[row_ + m])};
  }

  const ActivationView& x_;
  const int64_t row_, rows_;
  ColumnSet set_;
  int64_t slots_ = 0;
  uint16_t columns_[kMaxSlots];
  OutlierTerm terms_[kRowBlock * kMaxSlots];
  int32_t begin_[kRowBlock + 1];
};

// Puts the originals of kept columns in place of the decoded ones: channels [n, n + channels).
void PlaceKept(const KeptColumns& kept, std::span<const uint16_t> columns, int64_t weight_n, int64_t n,
               int channels, float* values) {
  if (kept.empty()) return;
  const int64_t valid = std::min<int64_t>(channels, weight_n - n);
  for (size_t i = 0; i < columns.size(); ++i) {
    const auto at = std::lower_bound(kept.columns.begin(), kept.columns.end(), columns[i]);
    if (at == kept.columns.end() || *at != columns[i]) continue;
    const uint16_t* from = kept.values.data() + (at - kept.columns.begin()) * weight_n + n;
    float* to = values + static_cast<int64_t>(i) * channels;
    for (int64_t c = 0; c < valid; ++c) to[c] = Bf16ToF32(from[c]);
  }
}

struct Product {
  const GemmKernel& kernel;
  const GemmCall& call;
  const KeptColumns& kept;
  const OutlierOps& ops;

  void Run(int64_t row, int64_t rows, int64_t panel_begin, int64_t panel_end) const {
    Block block(call.x, row, rows);
    if (block.size() == 0) return;
    const bool once = block.size() <= kMaxSlots;
    if (once) block.Select(0);
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      alignas(64) float sums[kRowBlock][kMaxChannels];
      std::memset(sums, 0, static_cast<size_t>(rows) * sizeof sums[0]);
      for (int64_t first = 0; first < block.size(); first += kMaxSlots) {
        if (!once) block.Select(first);
        Accumulate(block, rows, panel, sums);
      }
      Store(row, rows, panel, sums);
    }
  }

  void Accumulate(const Block& block, int64_t rows, int64_t panel, float (*sums)[kMaxChannels]) const {
    alignas(64) float values[kMaxSlots * kMaxChannels];
    const int channels = kernel.panel_channels;
    const auto columns = block.columns();
    if (kernel.columns != nullptr && call.x.spec.format == ActivationFormat::kInt8) {
      const auto panel_bytes = static_cast<int64_t>(kernel.panel_bytes(*call.weight));
      kernel.columns(*call.weight, call.packed + panel * panel_bytes, columns.data(), std::ssize(columns), values);
    }
    PlaceKept(kept, columns, call.weight->n, panel * channels, channels, values);
    for (int64_t m = 0; m < rows; ++m) {
      const auto terms = block.Terms(m);
      if (!terms.empty()) ops.accumulate(values, channels, terms.data(), std::ssize(terms), sums[m]);
    }
  }

  void Store(int64_t row, int64_t rows, int64_t panel, const float (*sums)[kMaxChannels]) const {
    const int64_t n = panel * kernel.panel_channels;
    const int64_t count = std::min<int64_t>(kernel.panel_channels, call.weight->n - n);
    for (int64_t m = 0; m < rows; ++m) {
      if (call.x.outlier_counts[row + m] == 0) continue;
      ops.add(sums[m], count, call.y.out + (row + m) * call.y.row_stride + n);
    }
  }
};

}  // namespace

const OutlierOps& OutlierOpsFor(IsaLevel isa) {
  if (isa >= IsaLevel::kAvx512) return kOutlierOps_avx512;
  return isa >= IsaLevel::kAvx2 ? kOutlierOps_avx2 : kOutlierOps_reference;
}

void AddOutliers(const GemmKernel& kernel, const GemmCall& call, const KeptColumns& kept,
                 const OutlierOps& ops, int64_t panel_begin, int64_t panel_end) {
  static_assert(kMaxOutlierCols == int64_t{1} << 16);
  const Product product{kernel, call, kept, ops};
  for (int64_t row = 0; row < call.x.rows; row += kRowBlock) {
    product.Run(row, std::min(kRowBlock, call.x.rows - row), panel_begin, panel_end);
  }
}

}  // namespace octavo
