// SPDX-License-Identifier: Apache-2.0
// Writing side of the compressed-tensors forms, and the step from their terms to WeightRows.
#include "schemes/compressed_form.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/float16.h"
#include "schemes/packed_ints.h"

namespace octavo {
namespace {

void AppendScale(DType type, float scale, std::vector<std::byte>& bytes) {
  const auto append = [&bytes](auto value) {
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof value);
  };
  if (type == DType::kBF16) return append(F32ToBf16(scale));
  if (type == DType::kF16) return append(F32ToF16(scale));
  append(scale);
}

void AppendBytes(const void* data, size_t count, std::vector<std::byte>& bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), begin, begin + count);
}

TensorPiece EncodePacked(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin) {
  const int bits = module.args.weights.num_bits;
  const int64_t row_bytes = PackedWords(module.k, bits) * 4;
  TensorPiece piece{static_cast<uint64_t>(row_begin * row_bytes), {}};
  piece.bytes.resize(static_cast<size_t>(rows.count * row_bytes));
  const auto offset = static_cast<uint8_t>(1u << (bits - 1));
  for (int64_t row = 0; row < rows.count; ++row) {
    PackSigned(rows.codes.data() + row * module.k, module.k, bits, offset,
               reinterpret_cast<uint8_t*>(piece.bytes.data()) + row * row_bytes);
  }
  return piece;
}

// One value per tensor, row and group, or block; the piece of a block comes with its first row.
TensorPiece EncodeScales(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  const auto width = static_cast<uint64_t>(BitsOf(module.dtype) / 8);
  const int64_t step = args.strategy == Strategy::kBlock ? args.block_rows : 1;
  const bool one = args.strategy == Strategy::kTensor;
  TensorPiece piece{one ? 0 : static_cast<uint64_t>(row_begin / step * cols) * width, {}};
  const int64_t count = one ? (row_begin == 0 ? 1 : 0) : rows.count;
  for (int64_t row = 0; row < count; row += step) {
    for (int64_t col = 0; col < cols; ++col) {
      AppendScale(module.dtype, rows.scales[static_cast<size_t>(row * cols + col)], piece.bytes);
    }
  }
  return piece;
}

// Packed along the rows: word w of a column holds the zero points of rows [32 w / b, 32 (w + 1) / b).
TensorPiece EncodePackedZeros(const TargetModule& module, const QuantizedRows& rows,
                              int64_t row_begin) {
  static_assert(kRowAlignment % 32 == 0, "a piece must start at a whole word for every width");
  const int bits = module.args.weights.num_bits;
  const int64_t cols = ScaleCols(module.args.weights, module.k);
  const int64_t words = PackedWords(rows.count, bits);
  TensorPiece piece{static_cast<uint64_t>(PackedWords(row_begin, bits) * cols * 4), {}};
  piece.bytes.resize(static_cast<size_t>(words * cols * 4));
  std::vector<uint8_t> column(static_cast<size_t>(rows.count));
  std::vector<uint8_t> packed(static_cast<size_t>(words * 4));
  for (int64_t col = 0; col < cols; ++col) {
    for (int64_t row = 0; row < rows.count; ++row) {
      column[static_cast<size_t>(row)] = static_cast<uint8_t>(
          rows.zero_points[static_cast<size_t>(row * cols + col)] + (1 << (bits - 1)));
    }
    PackInts(column.data(), rows.count, bits, packed.data());
    for (int64_t word = 0; word < words; ++word) {
      std::memcpy(piece.bytes.data() + (word * cols + col) * 4, packed.data() + word * 4, 4);
    }
  }
  return piece;
}

TensorPiece EncodeZeros(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin) {
  TensorPiece piece;
  piece.offset = static_cast<uint64_t>(row_begin * ScaleCols(module.args.weights, module.k));
  AppendBytes(rows.zero_points.data(), rows.zero_points.size(), piece.bytes);
  return piece;
}

// Symmetric scales are as stored; mins are products with zero points.
ScaleType GroupScaleType(const TargetModule& module) {
  if (!module.args.weights.symmetric) return ScaleType::kF32;
  if (module.dtype == DType::kBF16) return ScaleType::kBf16;
  return module.dtype == DType::kF16 ? ScaleType::kF16 : ScaleType::kF32;
}

}  // namespace

int64_t ScaleCols(const QuantArgs& args, int64_t k) {
  if (args.strategy == Strategy::kGroup) return k < args.group_size ? 1 : k / args.group_size;
  if (args.strategy == Strategy::kBlock) return (k + args.block_cols - 1) / args.block_cols;
  return 1;
}

WeightSpec CompressedSpec(const TargetModule& module) {
  const QuantArgs& args = module.args.weights;
  WeightSpec spec;
  spec.code = args.type == QuantType::kFloat ? CodeType::kE4M3 : CodeType::kInt;
  spec.bits = args.num_bits;
  spec.n = module.n;
  spec.k = module.k;
  spec.has_min = !args.symmetric;
  spec.scales = ScaleLayout::kChannel;
  if (args.strategy == Strategy::kGroup) {
    spec.scales = ScaleLayout::kGroup;
    spec.group_size = static_cast<int>(std::min<int64_t>(args.group_size, module.k));
  } else if (args.strategy == Strategy::kBlock) {
    // A group must divide k, a block need not: 128 columns of k = 576 become groups of 64.
    spec.scales = ScaleLayout::kGroup;
    spec.group_size = static_cast<int>(std::gcd<int64_t>(args.block_cols, module.k));
  } else if (spec.has_min) {
    spec.scales = ScaleLayout::kGroup;  // mins belong to groups: one as wide as the row
    spec.group_size = static_cast<int>(module.k);
  }
  if (spec.scales == ScaleLayout::kGroup) spec.scale_type = GroupScaleType(module);
  return spec;
}

std::vector<TensorSpec> CompressedTensors(const TargetModule& module) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  Shape scale_shape{module.n, cols};
  if (args.strategy == Strategy::kTensor) scale_shape = Shape{1};
  if (args.strategy == Strategy::kBlock) {
    scale_shape = Shape{(module.n + args.block_rows - 1) / args.block_rows, cols};
  }
  std::vector<TensorSpec> specs;
  const bool packed = IsPackedForm(module.args);
  if (packed) {
    specs.push_back({module.name + ".weight_packed", DType::kI32,
                     Shape{module.n, PackedWords(module.k, args.num_bits)}});
  } else {
    specs.push_back({module.name + ".weight",
                     args.type == QuantType::kFloat ? DType::kF8E4M3 : DType::kI8,
                     Shape{module.n, module.k}});
  }
  specs.push_back({module.name + ".weight_scale", module.dtype, scale_shape});
  if (packed) specs.push_back({module.name + ".weight_shape", DType::kI64, Shape{2}});
  if (!args.symmetric) {
    specs.push_back(packed ? TensorSpec{module.name + ".weight_zero_point", DType::kI32,
                                        Shape{PackedWords(module.n, args.num_bits), cols}}
                           : TensorSpec{module.name + ".weight_zero_point", DType::kI8, scale_shape});
  }
  if (module.args.static_input()) {
    specs.push_back({module.name + ".input_scale", module.dtype, Shape{1}});
  }
  return specs;
}

void EncodeCompressed(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
                      std::vector<TensorPiece>& pieces) {
  pieces.clear();
  const bool packed = IsPackedForm(module.args);
  if (packed) {
    pieces.push_back(EncodePacked(module, rows, row_begin));
  } else {
    TensorPiece& piece = pieces.emplace_back();
    piece.offset = static_cast<uint64_t>(row_begin * module.k);
    AppendBytes(rows.codes.data(), rows.codes.size(), piece.bytes);
  }
  pieces.push_back(EncodeScales(module, rows, row_begin));
  if (packed) {
    TensorPiece& piece = pieces.emplace_back();
    const int64_t shape[] = {module.n, module.k};
    if (row_begin == 0) AppendBytes(shape, sizeof shape, piece.bytes);
  }
  if (!module.args.weights.symmetric) {
    pieces.push_back(packed ? EncodePackedZeros(module, rows, row_begin)
                            : EncodeZeros(module, rows, row_begin));
  }
  if (!module.args.static_input()) return;
  TensorPiece& piece = pieces.emplace_back();
  if (row_begin == 0) AppendScale(module.dtype, module.input_scale, piece.bytes);
}

void CompressedToWeightRows(const TargetModule& module, QuantizedRows& from, WeightRows& to) {
  const QuantArgs& args = module.args.weights;
  const WeightSpec spec = CompressedSpec(module);
  to.count = from.count;
  to.codes.swap(from.codes);
  to.mins.clear();
  to.scales2.clear();
  to.zeros2.clear();
  if (!args.symmetric) {
    const int offset = 1 << (args.num_bits - 1);
    for (uint8_t& code : to.codes) code = static_cast<uint8_t>(static_cast<int8_t>(code) + offset);
    to.mins.resize(from.scales.size());
    for (size_t i = 0; i < to.mins.size(); ++i) {
      to.mins[i] = -static_cast<float>(from.zero_points[i] + offset) * from.scales[i];
    }
  }
  const int64_t cols = ScaleCols(args, module.k);
  if (spec.groups() == cols) {
    to.scales.swap(from.scales);
    return;
  }
  to.scales.resize(static_cast<size_t>(from.count * spec.groups()));
  for (int64_t row = 0; row < from.count; ++row) {
    for (int64_t group = 0; group < spec.groups(); ++group) {
      const int64_t col = group * spec.group_size / args.block_cols;
      to.scales[static_cast<size_t>(row * spec.groups() + group)] =
          from.scales[static_cast<size_t>(row * cols + col)];
    }
  }
}

}  // namespace octavo
