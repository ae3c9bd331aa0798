// SPDX-License-Identifier: Apache-2.0
// Round to nearest, one span of shared scale at a time.
#include "schemes/rtn.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/float16.h"
#include "schemes/compressed_form.h"

namespace octavo {
namespace {

// finfo(dtype).eps: the distance from 1 to the next number.
float EpsilonOf(DType dtype) {
  if (dtype == DType::kBF16) return 0x1p-7f;
  return dtype == DType::kF16 ? 0x1p-10f : std::numeric_limits<float>::epsilon();
}

struct Range {
  float lo = 0;
  float hi = 0;
  bool finite = true;
};

void Widen(const float* x, int64_t count, Range& range) {
  for (int64_t i = 0; i < count; ++i) {
    range.lo = std::min(range.lo, x[i]);
    range.hi = std::max(range.hi, x[i]);
    range.finite &= std::isfinite(x[i]);
  }
}

struct Scale {
  float scale = 1;
  int zero_point = 0;
};

// q_max - q_min of the code type.
float CodeRange(const QuantArgs& args) {
  return args.type == QuantType::kFloat ? 2 * kE4M3Max
                                        : static_cast<float>((1 << args.num_bits) - 1);
}

Scale ChooseScale(const QuantArgs& args, DType dtype, const Range& range) {
  Scale chosen;
  const float code_range = CodeRange(args);
  if (args.symmetric) {
    const float absmax = std::max(-range.lo, range.hi);
    chosen.scale = RoundToDType(dtype, absmax / (code_range / 2));
  } else {
    const float q_min = static_cast<float>(-(1 << (args.num_bits - 1)));
    const float width = RoundToDType(dtype, range.hi - range.lo);
    chosen.scale = RoundToDType(dtype, width / code_range);
    if (chosen.scale != 0) {
      const float shift = RoundToDType(dtype, range.lo / chosen.scale);
      const float zero = RoundToDType(dtype, q_min - shift);
      chosen.zero_point = static_cast<int>(std::nearbyint(std::clamp(zero, q_min, q_min + code_range)));
    }
  }
  if (chosen.scale == 0) chosen.scale = EpsilonOf(dtype);
  return chosen;
}

void Encode(const QuantArgs& args, const Scale& scale, const float* x, int64_t count, uint8_t* q) {
  if (args.type == QuantType::kFloat) {
    for (int64_t i = 0; i < count; ++i) q[i] = F32ToE4M3(x[i] / scale.scale);
    return;
  }
  const float q_min = static_cast<float>(-(1 << (args.num_bits - 1)));
  const float q_max = -q_min - 1;
  const float zero_point = static_cast<float>(scale.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    const float code = std::clamp(x[i] / scale.scale + zero_point, q_min, q_max);
    q[i] = static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(code)));
  }
}

Status NotFinite(const TargetModule& module, const float* x, int64_t row_begin, int64_t count) {
  for (int64_t i = 0; i < count * module.k; ++i) {
    if (std::isfinite(x[i])) continue;
    return DataLoss(fmt::format("tensor '{}.weight': row {} column {} is {}, want a finite number",
                                module.name, row_begin + i / module.k, i % module.k, x[i]));
  }
  return Internal(fmt::format("tensor '{}.weight': no finite range", module.name));
}

// Rows [first, last) of x against one block column each.
void QuantizeBlockRow(const TargetModule& module, const float* x, int64_t first, int64_t last,
                      QuantizedRows& rows) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  for (int64_t col = 0; col < cols; ++col) {
    const int64_t begin = col * args.block_cols;
    const int64_t width = std::min<int64_t>(args.block_cols, module.k - begin);
    Range range;
    for (int64_t row = first; row < last; ++row) Widen(x + row * module.k + begin, width, range);
    const Scale scale = ChooseScale(args, module.dtype, range);
    for (int64_t row = first; row < last; ++row) {
      Encode(args, scale, x + row * module.k + begin, width,
             rows.codes.data() + row * module.k + begin);
      rows.scales[static_cast<size_t>(row * cols + col)] = scale.scale;
    }
  }
}

void QuantizeRow(const TargetModule& module, const float* x, int64_t row, QuantizedRows& rows) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  const int64_t span = module.k / cols;
  for (int64_t col = 0; col < cols; ++col) {
    const int64_t begin = row * module.k + col * span;
    Range range{-module.absmax, module.absmax, true};
    if (args.strategy != Strategy::kTensor) {
      range = {};
      Widen(x + begin, span, range);
    }
    const Scale scale = ChooseScale(args, module.dtype, range);
    Encode(args, scale, x + begin, span, rows.codes.data() + begin);
    const auto at = static_cast<size_t>(row * cols + col);
    rows.scales[at] = scale.scale;
    if (!args.symmetric) rows.zero_points[at] = static_cast<int8_t>(scale.zero_point);
  }
}

}  // namespace

Result<float> AbsMax(const TargetModule& module, const float* x, int64_t row_begin, int64_t count) {
  Range range;
  Widen(x, count * module.k, range);
  if (!range.finite) return NotFinite(module, x, row_begin, count);
  return std::max(-range.lo, range.hi);
}

Status QuantizeRtn(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                   QuantizedRows& rows) {
  OCTAVO_RETURN_IF_ERROR(AbsMax(module, x, row_begin, count).status());
  const QuantArgs& args = module.args.weights;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * module.k));
  rows.scales.resize(static_cast<size_t>(count * ScaleCols(args, module.k)));
  rows.zero_points.resize(args.symmetric ? 0 : rows.scales.size());
  if (args.strategy != Strategy::kBlock) {
    for (int64_t row = 0; row < count; ++row) QuantizeRow(module, x, row, rows);
    return Status::Ok();
  }
  for (int64_t row = 0; row < count; row += args.block_rows) {
    QuantizeBlockRow(module, x, row, std::min<int64_t>(row + args.block_rows, count), rows);
  }
  return Status::Ok();
}

}  // namespace octavo
