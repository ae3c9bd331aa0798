// SPDX-License-Identifier: Apache-2.0
// Memory of activation matrices, and the choice of row encoder.
#include "kernels/activation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "kernels/activation_outliers.h"
#include "kernels/activation_rows.h"

namespace octavo {

std::string_view NameOf(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kF32: return "f32";
    case ActivationFormat::kBf16: return "bf16";
    case ActivationFormat::kInt8: return "int8";
    case ActivationFormat::kFp8: return "fp8";
    case ActivationFormat::kFp8Group128: return "fp8 group 128";
    case ActivationFormat::kInt8Group32: break;
  }
  return "int8 group 32";
}

namespace {

// Fewer rows are too few for two tiles of 16, and one row of many chunks is read in sequence.
constexpr int64_t kMinTiledRows = 33;
constexpr int64_t kMaxTiledRowBytes = int64_t{1} << 16;  // a row is encoded on the stack, then spread

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// At least 64 bytes and up to a multiple of 128 elements behind the row; never a multiple of 4096,
// which would put all rows of a tile into one L1 set.
int64_t RowBytes(int64_t cols, int64_t element_bytes) {
  const int64_t padded = std::max(cols * element_bytes + 64, RoundUp(cols, 128) * element_bytes);
  const int64_t bytes = RoundUp(padded, 64);
  return bytes % 4096 == 0 ? bytes + 64 : bytes;
}

const ActivationEncoders& Encoders() {
  static const ActivationEncoders& encoders = []() -> const ActivationEncoders& {
    const Result<IsaLevel> isa = ActiveIsa();
    const IsaLevel level = isa.ok() ? *isa : DetectedIsa();
    if (level >= IsaLevel::kAvx512) return kActivationEncoders_avx512;
    if (level >= IsaLevel::kAvx2) return kActivationEncoders_avx2;
    return kActivationEncoders_reference;
  }();
  return encoders;
}

void Encode(ActivationFormat format, const ActivationRow& row) {
  const ActivationEncoders& encoders = Encoders();
  switch (format) {
    case ActivationFormat::kF32: return encoders.f32(row);
    case ActivationFormat::kBf16: return encoders.bf16(row);
    case ActivationFormat::kInt8: return encoders.int8(row);
    case ActivationFormat::kFp8: return encoders.fp8(row);
    case ActivationFormat::kFp8Group128: return encoders.fp8_group128(row);
    case ActivationFormat::kInt8Group32: return encoders.int8_group32(row);
  }
}

// Copies the chunks of an encoded row to their places in tile order.
void SpreadRow(const std::byte* from, int64_t bytes, int64_t row, int64_t row_bytes, std::byte* data) {
  constexpr int64_t kRows = ActivationView::kTileRows, kChunk = ActivationView::kTileChunk;
  std::byte* to = data + row / kRows * kRows * row_bytes + row % kRows * kChunk;
  for (int64_t at = 0; at < bytes; at += kChunk) std::memcpy(to + at * kRows, from + at, kChunk);
}

template <typename T>
T* Mutable(const T* p) {
  return const_cast<T*>(p);  // views are const; the buffer that made them owns the memory
}

}  // namespace

ActivationView ActivationView::Slice(int64_t first, int64_t count) const {
  OCTAVO_DCHECK(first >= 0 && count >= 0 && first + count <= rows);
  OCTAVO_DCHECK(!tiled || first % kTileRows == 0);
  ActivationView v = *this;
  v.rows = count;
  v.data = static_cast<const std::byte*>(data) + first * row_stride * ElementBytes(spec.format);
  if (scales != nullptr) v.scales += first * scales_per_row();
  if (row_sums != nullptr) v.row_sums += first;
  if (group_sums != nullptr) v.group_sums += first * sum_groups();
  if (group_sums_f32 != nullptr) v.group_sums_f32 += first * sum_groups();
  if (outliers != nullptr) {
    v.outlier_counts += first;
    v.outliers += first * cols;
  }
  return v;
}

Status ActivationBuffer::Reserve(const ActivationSpec& spec, int64_t max_rows, int64_t cols) {
  constexpr int64_t kMax = int64_t{1} << 31;
  if (max_rows < 0 || cols <= 0 || max_rows > kMax || cols > kMax || spec.sum_group < 0) {
    return InvalidArgument(fmt::format("activation buffer: [{}, {}] with sums over {} columns",
                                       max_rows, cols, spec.sum_group));
  }
  const bool int8_groups = spec.format == ActivationFormat::kInt8Group32;
  if (int8_groups && spec.sum_group != 0 && spec.sum_group != 16 && spec.sum_group != 32) {
    return InvalidArgument(fmt::format("activation buffer: sums over {} columns of {} rows, want 16 or 32",
                                       spec.sum_group, NameOf(spec.format)));
  }
  const bool splits = spec.outlier_threshold > 0;
  const bool can_split = spec.format == ActivationFormat::kInt8 || spec.format == ActivationFormat::kF32;
  if (splits && (!can_split || cols > kMaxOutlierCols)) {
    return InvalidArgument(fmt::format("activation buffer: outliers in {} rows of {} columns (want int8 or f32 "
                                       "and at most {})", NameOf(spec.format), cols, kMaxOutlierCols));
  }
  ActivationView v;
  v.spec = spec;
  v.rows = max_rows;
  v.cols = cols;
  const int64_t row_bytes = RowBytes(cols, ElementBytes(spec.format));
  v.row_stride = row_bytes / ElementBytes(spec.format);
  const bool is_int8 = spec.format == ActivationFormat::kInt8;
  const bool int_sums = spec.sum_group > 0 && IsInt8(spec.format);
  const bool float_sums = spec.sum_group > 0 && !is_int8;
  const bool scaled = spec.format != ActivationFormat::kF32 && spec.format != ActivationFormat::kBf16;

  const int64_t scale_bytes = scaled ? RoundUp(max_rows * v.scales_per_row() * 4, 64) : 0;
  const int64_t row_sum_bytes = is_int8 ? RoundUp(max_rows * 4, 64) : 0;
  const int64_t group_sum_bytes = RoundUp(max_rows * v.sum_groups() * 4, 64);
  const int64_t data_bytes = row_bytes * RoundUp(max_rows, ActivationView::kTileRows);
  // Lists for the worst case: memory that no outlier touches never becomes resident.
  const int64_t count_bytes = splits ? RoundUp(max_rows * 4, 64) : 0;
  const int64_t outlier_bytes = splits ? max_rows * cols * static_cast<int64_t>(sizeof(OutlierValue)) : 0;
  const int64_t total = data_bytes + scale_bytes + row_sum_bytes + group_sum_bytes * (int_sums + float_sums) +
                        count_bytes + outlier_bytes + 64;
  const bool same = memory_.size() > 0 && spec.SameLayout(view_.spec) && cols == view_.cols &&
                    max_rows <= max_rows_;
  if (same) {
    view_.spec = spec;
    SetRows(max_rows);
    return Status::Ok();
  }
  if (static_cast<size_t>(total) > memory_.size()) {
    memory_ = AlignedBuffer();
    OCTAVO_ASSIGN_OR_RETURN(memory_, AlignedBuffer::Allocate(static_cast<size_t>(total)));
  }
  std::byte* p = memory_.data();
  v.data = p;
  p += data_bytes;
  if (scaled) v.scales = reinterpret_cast<float*>(p);
  p += scale_bytes;
  if (is_int8) v.row_sums = reinterpret_cast<int32_t*>(p);
  p += row_sum_bytes;
  if (int_sums) {
    v.group_sums = reinterpret_cast<int32_t*>(p);
    p += group_sum_bytes;
  }
  if (float_sums) {
    v.group_sums_f32 = reinterpret_cast<float*>(p);
    p += group_sum_bytes;
  }
  if (splits) {
    v.outlier_counts = reinterpret_cast<int32_t*>(p);
    v.outliers = reinterpret_cast<OutlierValue*>(p + count_bytes);
  }
  view_ = v;
  max_rows_ = max_rows;
  clean_rows_ = 0;
  SetRows(max_rows);
  return Status::Ok();
}

void ActivationBuffer::SetRows(int64_t rows, bool tiles) {
  OCTAVO_DCHECK(rows >= 0 && rows <= max_rows_);
  view_.rows = rows;
  view_.tiled = tiles && view_.spec.tiles && rows >= kMinTiledRows &&
                view_.row_stride * ElementBytes(view_.spec.format) <= kMaxTiledRowBytes;
  if (view_.tiled) {
    clean_rows_ = 0;
  } else if (rows > clean_rows_) {
    ClearPadding(clean_rows_, rows);
    clean_rows_ = rows;
  }
}

void ActivationBuffer::ClearPadding(int64_t first, int64_t last) {
  const int64_t element_bytes = ElementBytes(view_.spec.format);
  const int64_t row_bytes = view_.row_stride * element_bytes;
  const int64_t used = view_.cols * element_bytes;
  for (int64_t row = first; row < last; ++row) {
    std::memset(memory_.data() + row * row_bytes + used, 0, static_cast<size_t>(row_bytes - used));
  }
}

void ActivationBuffer::EncodeRow(int64_t row, const float* x) {
  OCTAVO_DCHECK(row >= 0 && row < max_rows_);
  const ActivationView& v = view_;
  ActivationRow r{};
  r.x = x;
  if (v.outliers != nullptr) {
    r.x = SplitOutliers(x, v.cols, v.spec.outlier_threshold, Mutable(v.outliers) + row * v.cols,
                        Mutable(v.outlier_counts)[row]);
  }
  r.cols = v.cols;
  const int64_t element_bytes = ElementBytes(v.spec.format);
  const int64_t row_bytes = v.row_stride * element_bytes;
  alignas(64) std::byte staging[kMaxTiledRowBytes];
  const int64_t used = RoundUp(v.cols * element_bytes, ActivationView::kTileChunk);
  r.out = memory_.data() + row * row_bytes;
  if (v.tiled) {
    r.out = staging;
    std::memset(staging + used - ActivationView::kTileChunk, 0, ActivationView::kTileChunk);
  }
  if (v.scales != nullptr) r.scales = Mutable(v.scales) + row * v.scales_per_row();
  if (v.row_sums != nullptr) r.row_sum = Mutable(v.row_sums) + row;
  if (v.group_sums != nullptr) r.group_sums = Mutable(v.group_sums) + row * v.sum_groups();
  if (v.group_sums_f32 != nullptr) {
    r.group_sums_f32 = Mutable(v.group_sums_f32) + row * v.sum_groups();
  }
  r.sum_group = v.spec.sum_group;
  r.static_scale = v.spec.static_scale;
  Encode(v.spec.format, r);
  if (v.tiled) SpreadRow(staging, used, row, row_bytes, memory_.data());
}

}  // namespace octavo
