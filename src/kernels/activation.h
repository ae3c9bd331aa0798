// SPDX-License-Identifier: Apache-2.0
// The activation contract: what a linear layer eats, and what norm, SiLU*mul and attention produce.
//
// A scheme names the format it wants; the producing op quantizes each row once, while it is still in
// cache, and every linear that shares the input (q/k/v, gate/up) reads the same rows. All quantities
// are per row (token), so a token's numbers never depend on its batch (docs/numerics.md).
//
// Quantizers (all maths in f32, rounding to nearest even; amax = max |x| over the row or group):
//   kInt8  a = max(amax, 2^-100); scale = a / 127; q = rne(x * (127 / a))
//   kInt8Group32  the same per 32 columns (the last group may be short): what ggml does before it multiplies
//   kFp8   scale = max(amax / 448, 1 / (448 * 512)); q = E4M3(x * (1 / scale)), |q| <= 448
//   kFp8Group128  the same per 128 columns, but q = E4M3(x / scale)
// With a static scale (calibrated, from the checkpoint), kInt8 and kFp8 take that instead of a row's
// own, and codes saturate at +-127 and +-448: q = rne(clamp(x * (1 / scale))).
// With an outlier threshold (LLM.int8(), arXiv:2208.07339, section 3.2) kInt8 leaves values of at least
// that magnitude out: they count for nothing in amax, get code 0, and come as a list beside the row,
// rounded to bf16. Chosen per row, never per batch. (kF32 does the same for studies: 0 in the row.)
// A row (group) that holds NaN or infinity gets scale = NaN, codes 0 and no outliers, so every product with
// it is NaN: nothing is hidden, nothing undefined. kF32 and kBf16 pass such values on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "kernels/weight_spec.h"
#include "octavo/status.h"

namespace octavo {

enum class ActivationFormat : uint8_t {
  kF32,         // float
  kBf16,        // bfloat16, rounded to nearest even
  kInt8,        // int8 in [-127, 127], one f32 scale per token
  kFp8,         // FP8 E4M3 values held as bfloat16, one f32 scale per token
  kFp8Group128,  // as kFp8 with one scale per token and 128 columns (FP8_BLOCK)
  kInt8Group32   // as kInt8 with one scale per token and 32 columns (GGUF's blocks)
};

// "f32", "bf16", "int8", "fp8", "fp8 group 128", "int8 group 32".
std::string_view NameOf(ActivationFormat format);

// Whether codes are int8, so that products sum integers.
inline bool IsInt8(ActivationFormat format) {
  return format == ActivationFormat::kInt8 || format == ActivationFormat::kInt8Group32;
}

// Columns that share one scale; 0 where a row has one, or none.
inline int64_t ScaleGroup(ActivationFormat format) {
  if (format == ActivationFormat::kFp8Group128) return 128;
  return format == ActivationFormat::kInt8Group32 ? 32 : 0;
}

// Bytes of one encoded element.
inline int64_t ElementBytes(ActivationFormat format) {
  if (format == ActivationFormat::kF32) return 4;
  return IsInt8(format) ? 1 : 2;
}

// A format plus the sums a kernel needs beside the data.
struct ActivationSpec {
  ActivationFormat format = ActivationFormat::kF32;
  int sum_group = 0;  // group_sums over this many columns (the last group may be short); 0: none
  bool tiles = false;  // the kernel reads many rows faster in tile order (GemmKernel::reads_tiles)
  float outlier_threshold = 0;  // kInt8, kF32: |x| from here on is an outlier; 0: there are none
  float static_scale = 0;  // kInt8, kFp8: the scale of every row; 0: each row has its own

  bool operator==(const ActivationSpec&) const = default;
  // Whether one buffer serves both, with another scale each time.
  bool SameLayout(const ActivationSpec& o) const {
    return format == o.format && sum_group == o.sum_group && tiles == o.tiles &&
           outlier_threshold == o.outlier_threshold;
  }
};

// The activation that multiplying by `weight` with activations of `format` takes. Sums follow from the
// weight's zero points; int8 kernels with group scales need them too, to store codes as unsigned.
inline ActivationSpec RequiredActivation(const WeightSpec& weight, ActivationFormat format,
                                         float outlier_threshold = 0, float static_scale = 0) {
  const bool groups = weight.scales == ScaleLayout::kGroup || weight.scales == ScaleLayout::kTwoLevel;
  const bool sums = groups && (weight.has_min || IsInt8(format));
  const bool fixed = format == ActivationFormat::kInt8 || format == ActivationFormat::kFp8;
  return {.format = format,
          .sum_group = sums ? weight.group_size : 0,
          .outlier_threshold = outlier_threshold,
          .static_scale = fixed ? static_scale : 0};
}

// A value left out of a row.
struct OutlierValue {
  uint16_t column;
  uint16_t value;  // bf16 bits
};

// Rows of activations; a view into an ActivationBuffer. Rows are row_stride elements apart. Each row is
// followed by zeros: at least 64 bytes, and at least up to a multiple of 128 elements, so kernels read
// whole vectors and tiles past `cols`. Pointers that the format does not use are null.
//
// Tile order: blocks of 16 rows, each block the 64-byte chunks of its rows column by column, so that a
// tile of the AMX units is 1 KiB without gaps. Chunks are zero beyond `cols`; scales and sums stay as
// they are. A block takes the bytes of 16 rows in row order, so Slice() works from multiples of 16.
//
//   row order                      tile order
//   [row 0: c0 c1 c2 .. | zeros]   [c0 of rows 0..15][c1 of rows 0..15] .. | unused
//   [row 1: c0 c1 c2 .. | zeros]   [c0 of rows 16..31] ..
struct ActivationView {
  static constexpr int64_t kTileRows = 16, kTileChunk = 64;  // chunk in bytes

  ActivationSpec spec;
  int64_t rows = 0;
  int64_t cols = 0;        // k
  int64_t row_stride = 0;  // elements; a multiple of 64 bytes, never a multiple of 4096 bytes
  bool tiled = false;      // in tile order
  const void* data = nullptr;           // float, uint16_t (bf16 bits) or int8_t
  const float* scales = nullptr;        // [rows][scales_per_row()]
  const int32_t* row_sums = nullptr;    // [rows], kInt8: sum of q over the row
  const int32_t* group_sums = nullptr;  // [rows][sum_groups()], int8 formats: exact sums of q
  // [rows][sum_groups()]. Floating formats: sums of the encoded values in f32. Lane l of 16 adds columns
  // l, l + 16, ... of the group in that order, then lanes fold by halves (l += l + 8, + 4, + 2, + 1).
  // kInt8Group32, whose sums are over 16 or 32 columns: float(group_sums) * the group's scale.
  const float* group_sums_f32 = nullptr;
  // With an outlier threshold: [rows], and [rows][cols] of which the first outlier_counts[row] count, in
  // ascending order of columns.
  const int32_t* outlier_counts = nullptr;
  const OutlierValue* outliers = nullptr;

  int64_t element_bytes() const { return ElementBytes(spec.format); }
  int64_t sum_groups() const {
    return spec.sum_group == 0 ? 0 : (cols + spec.sum_group - 1) / spec.sum_group;
  }
  int64_t scales_per_row() const {
    const int64_t group = ScaleGroup(spec.format);
    return group > 0 ? (cols + group - 1) / group : 1;
  }

  // Row order only.
  template <typename T>
  const T* Row(int64_t row) const {
    OCTAVO_DCHECK(!tiled);
    return static_cast<const T*>(data) + row * row_stride;
  }
  // Byte `column` (of the encoded elements) of a row, in either order.
  const std::byte* At(int64_t row, int64_t column) const {
    const int64_t row_bytes = row_stride * element_bytes();
    const auto* base = static_cast<const std::byte*>(data);
    if (!tiled) return base + row * row_bytes + column;
    return base + row / kTileRows * kTileRows * row_bytes + column / kTileChunk * kTileChunk * kTileRows +
           row % kTileRows * kTileChunk + column % kTileChunk;
  }
  ActivationView Slice(int64_t first, int64_t count) const;
};

// Owns the memory of one activation matrix; sized once, reused every step.
class ActivationBuffer {
 public:
  ActivationBuffer() = default;

  // Makes room for [rows, cols] in `spec`; keeps memory when it is large enough. Never shrinks. Sets
  // the number of rows to max_rows.
  Status Reserve(const ActivationSpec& spec, int64_t max_rows, int64_t cols);

  // Sets the current number of rows (at most the reserved number), before they are encoded. With
  // `tiles` they come in tile order if the spec asks for it and there are enough of them to gain.
  void SetRows(int64_t rows, bool tiles = false);

  // Of the rows encoded from now on.
  void SetStaticScale(float scale) { view_.spec.static_scale = scale; }

  const ActivationView& view() const { return view_; }
  size_t bytes() const { return memory_.size(); }

  // Encodes row `row` from `cols` floats: quantizes, and fills scale and sums. Rows may be encoded
  // from several threads at once. The result depends on nothing but x and the spec; all ISA levels
  // give the same bits.
  void EncodeRow(int64_t row, const float* x);

 private:
  void ClearPadding(int64_t first, int64_t last);

  ActivationView view_;
  int64_t max_rows_ = 0;
  int64_t clean_rows_ = 0;  // rows whose padding in row order is zero
  AlignedBuffer memory_;
};

}  // namespace octavo
