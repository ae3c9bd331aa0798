// SPDX-License-Identifier: Apache-2.0
// Round to nearest, one span of shared scale at a time.
#include "schemes/rtn.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/float16.h"
#include "kernels/quantize/quantize.h"
#include "schemes/compressed_form.h"

namespace octavo {
namespace {

// finfo(dtype).eps: the distance from 1 to the next number.
float EpsilonOf(DType dtype) {
  if (dtype == DType::kBF16) return 0x1p-7f;
  return dtype == DType::kF16 ? 0x1p-10f : std::numeric_limits<float>::epsilon();
}

// The smallest range that holds both.
ValueRange Join(const ValueRange& a, const ValueRange& b) {
  return {std::min(a.lo, b.lo), std::max(a.hi, b.hi), a.finite && b.finite};
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

Scale ChooseScale(const QuantArgs& args, DType dtype, const ValueRange& range) {
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
  const QuantizeOps& ops = ActiveQuantizeOps();
  if (args.type == QuantType::kFloat) return ops.to_e4m3(x, count, scale.scale, q);
  const float q_min = static_cast<float>(-(1 << (args.num_bits - 1)));
  ops.to_int(x, count, scale.scale, static_cast<float>(scale.zero_point), q_min, -q_min - 1,
             reinterpret_cast<int8_t*>(q));
}

Status NotFinite(const TargetModule& module, const float* x, int64_t row_begin, int64_t count) {
  for (int64_t i = 0; i < count * module.k; ++i) {
    if (std::isfinite(x[i])) continue;
    return DataLoss(fmt::format("tensor '{}.weight': row {} column {} is {}, want a finite number",
                                module.name, row_begin + i / module.k, i % module.k, x[i]));
  }
  return Internal(fmt::format("tensor '{}.weight': no finite range", module.name));
}

// Rows [first, last) of x, one block of columns after the other. False for values that are not finite.
bool QuantizeBlockRow(const TargetModule& module, const float* x, int64_t first, int64_t last,
                      QuantizedRows& rows) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  for (int64_t col = 0; col < cols; ++col) {
    const int64_t begin = col * args.block_cols;
    const int64_t width = std::min<int64_t>(args.block_cols, module.k - begin);
    ValueRange range;
    for (int64_t row = first; row < last; ++row) {
      range = Join(range, ActiveQuantizeOps().range(x + row * module.k + begin, width));
    }
    if (!range.finite) return false;
    const Scale scale = ChooseScale(args, module.dtype, range);
    for (int64_t row = first; row < last; ++row) {
      Encode(args, scale, x + row * module.k + begin, width,
             rows.codes.data() + row * module.k + begin);
      rows.scales[static_cast<size_t>(row * cols + col)] = scale.scale;
    }
  }
  return true;
}

bool QuantizeRow(const TargetModule& module, const float* x, int64_t row, QuantizedRows& rows) {
  const QuantArgs& args = module.args.weights;
  const int64_t cols = ScaleCols(args, module.k);
  const int64_t span = module.k / cols;
  for (int64_t col = 0; col < cols; ++col) {
    const int64_t begin = row * module.k + col * span;
    ValueRange range = ActiveQuantizeOps().range(x + begin, span);
    if (!range.finite) return false;
    if (args.strategy == Strategy::kTensor) range = {-module.absmax, module.absmax, true};
    const Scale scale = ChooseScale(args, module.dtype, range);
    Encode(args, scale, x + begin, span, rows.codes.data() + begin);
    const auto at = static_cast<size_t>(row * cols + col);
    rows.scales[at] = scale.scale;
    if (!args.symmetric) rows.zero_points[at] = static_cast<int8_t>(scale.zero_point);
  }
  return true;
}

}  // namespace

float StaticInputScale(const QuantArgs& args, DType dtype, float absmax) {
  return ChooseScale(args, dtype, {-absmax, absmax, true}).scale;
}

Result<float> AbsMax(const TargetModule& module, const float* x, int64_t row_begin, int64_t count) {
  const ValueRange range = ActiveQuantizeOps().range(x, count * module.k);
  if (!range.finite) return NotFinite(module, x, row_begin, count);
  return std::max(-range.lo, range.hi);
}

Status QuantizeRtn(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                   QuantizedRows& rows) {
  const QuantArgs& args = module.args.weights;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * module.k));
  rows.scales.resize(static_cast<size_t>(count * ScaleCols(args, module.k)));
  rows.zero_points.resize(args.symmetric ? 0 : rows.scales.size());
  const bool block = args.strategy == Strategy::kBlock;
  const int64_t step = block ? args.block_rows : 1;
  for (int64_t row = 0; row < count; row += step) {
    const bool finite = block ? QuantizeBlockRow(module, x, row, std::min(row + step, count), rows)
                              : QuantizeRow(module, x, row, rows);
    if (!finite) return NotFinite(module, x, row_begin, count);
  }
  return Status::Ok();
}

}  // namespace octavo
