// SPDX-License-Identifier: Apache-2.0
// Memory of activation matrices, and the choice of row encoder.
#include "kernels/activation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/cpu_features.h"
#include "kernels/activation_rows.h"

namespace octavo {

std::string_view NameOf(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kF32: return "f32";
    case ActivationFormat::kBf16: return "bf16";
    case ActivationFormat::kInt8: return "int8";
    case ActivationFormat::kFp8: return "fp8";
    case ActivationFormat::kFp8Group128: break;
  }
  return "fp8 group 128";
}

namespace {

int64_t ElementBytes(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::kF32: return 4;
    case ActivationFormat::kInt8: return 1;
    case ActivationFormat::kBf16:
    case ActivationFormat::kFp8:
    case ActivationFormat::kFp8Group128: break;
  }
  return 2;
}

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

template <typename T>
T* Mutable(const T* p) {
  return const_cast<T*>(p);  // views are const; the buffer that made them owns the memory
}

}  // namespace

ActivationView ActivationView::Slice(int64_t first, int64_t count) const {
  OCTAVO_DCHECK(first >= 0 && count >= 0 && first + count <= rows);
  ActivationView v = *this;
  v.rows = count;
  v.data = static_cast<const std::byte*>(data) + first * row_stride * ElementBytes(spec.format);
  if (scales != nullptr) v.scales += first * scales_per_row();
  if (row_sums != nullptr) v.row_sums += first;
  if (group_sums != nullptr) v.group_sums += first * sum_groups();
  if (group_sums_f32 != nullptr) v.group_sums_f32 += first * sum_groups();
  return v;
}

Status ActivationBuffer::Reserve(const ActivationSpec& spec, int64_t max_rows, int64_t cols) {
  constexpr int64_t kMax = int64_t{1} << 31;
  if (max_rows < 0 || cols <= 0 || max_rows > kMax || cols > kMax || spec.sum_group < 0) {
    return InvalidArgument(fmt::format("activation buffer: [{}, {}] with sums over {} columns",
                                       max_rows, cols, spec.sum_group));
  }
  ActivationView v;
  v.spec = spec;
  v.rows = max_rows;
  v.cols = cols;
  const int64_t row_bytes = RowBytes(cols, ElementBytes(spec.format));
  v.row_stride = row_bytes / ElementBytes(spec.format);
  const bool is_int8 = spec.format == ActivationFormat::kInt8;
  const bool scaled = spec.format != ActivationFormat::kF32 && spec.format != ActivationFormat::kBf16;

  const int64_t scale_bytes = scaled ? RoundUp(max_rows * v.scales_per_row() * 4, 64) : 0;
  const int64_t row_sum_bytes = is_int8 ? RoundUp(max_rows * 4, 64) : 0;
  const int64_t group_sum_bytes = RoundUp(max_rows * v.sum_groups() * 4, 64);
  const int64_t data_bytes = row_bytes * max_rows;
  const int64_t total = data_bytes + scale_bytes + row_sum_bytes + group_sum_bytes + 64;
  const bool same = memory_.size() > 0 && spec == view_.spec && cols == view_.cols &&
                    max_rows <= max_rows_;
  if (same) {
    view_.rows = max_rows;
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
  if (spec.sum_group > 0 && is_int8) v.group_sums = reinterpret_cast<int32_t*>(p);
  if (spec.sum_group > 0 && !is_int8) v.group_sums_f32 = reinterpret_cast<float*>(p);
  view_ = v;
  max_rows_ = max_rows;
  ClearPadding();
  return Status::Ok();
}

void ActivationBuffer::ClearPadding() {
  const int64_t element_bytes = ElementBytes(view_.spec.format);
  const int64_t row_bytes = view_.row_stride * element_bytes;
  const int64_t used = view_.cols * element_bytes;
  for (int64_t row = 0; row < max_rows_; ++row) {
    std::memset(memory_.data() + row * row_bytes + used, 0, static_cast<size_t>(row_bytes - used));
  }
}

void ActivationBuffer::EncodeRow(int64_t row, const float* x) {
  OCTAVO_DCHECK(row >= 0 && row < max_rows_);
  const ActivationView& v = view_;
  ActivationRow r{};
  r.x = x;
  r.cols = v.cols;
  r.out = memory_.data() + row * v.row_stride * ElementBytes(v.spec.format);
  if (v.scales != nullptr) r.scales = Mutable(v.scales) + row * v.scales_per_row();
  if (v.row_sums != nullptr) r.row_sum = Mutable(v.row_sums) + row;
  if (v.group_sums != nullptr) r.group_sums = Mutable(v.group_sums) + row * v.sum_groups();
  if (v.group_sums_f32 != nullptr) {
    r.group_sums_f32 = Mutable(v.group_sums_f32) + row * v.sum_groups();
  }
  r.sum_group = v.spec.sum_group;
  const ActivationEncoders& encoders = Encoders();
  switch (v.spec.format) {
    case ActivationFormat::kF32: return encoders.f32(r);
    case ActivationFormat::kBf16: return encoders.bf16(r);
    case ActivationFormat::kInt8: return encoders.int8(r);
    case ActivationFormat::kFp8: return encoders.fp8(r);
    case ActivationFormat::kFp8Group128: return encoders.fp8_group128(r);
  }
}

}  // namespace octavo
