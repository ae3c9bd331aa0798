// SPDX-License-Identifier: Apache-2.0
// QOQ_G128: progressive W4A8, uint4 groups of 128 that decode to int8 with a scale per channel.
//
// Source: QServe, arXiv:2405.04532, section 4.1 (progressive group quantization), without rotation,
// smoothing and calibration.
//   level 1   s0 = round_to_dtype(max |w| / 119) per output channel, v = w / s0 in [-119.5, 119.5]
//   level 2   per group of v, range widened to contain 0: s2 = max(1, rne((v_max - v_min) / 15)),
//             z = clamp(rne(-v_min / s2), 0, 15), u = clamp(rne(v / s2 + z), 0, 15)
//   decode    (u - z) * s2 is an int8, times s0
// |(u - z) * s2| <= |v| + s2 / 2 with s2 <= 16, so the protective range 119 keeps it within int8.
// Differs from the paper: s0 has the model's dtype, so that level 1 is a plain W8A8 checkpoint; level
// 2 acts on v before it is rounded to an integer, as the authors' deepcompressor does.
//
//   weight_packed  I32 [n, k / 8]    u, packed as in pack-quantized (no offset)
//   weight_scale   dtype [n, 1]      s0
//   weight_scale_2 U8 [n, k / 128]   s2
//   weight_zero_2  U8 [n, k / 128]   z
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/float16.h"
#include "kernels/quantize/quantize.h"
#include "schemes/packed_ints.h"
#include "schemes/rtn.h"
#include "schemes/scheme.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

constexpr float kProtectiveRange = 119.0f;

WeightSpec SpecOf(const TargetModule& module) {
  return {.code = CodeType::kInt,
          .bits = 4,
          .scales = ScaleLayout::kTwoLevel,
          .group_size = module.args.weights.group_size,
          .has_min = false,
          .n = module.n,
          .k = module.k};
}

// One group of level 2.
void QuantizeGroup(const float* x, int64_t count, float scale0, uint8_t* u, uint8_t& scale2,
                   uint8_t& zero2) {
  const QuantizeOps& ops = ActiveQuantizeOps();
  const ValueRange range = ops.range(x, count);
  const float lo = range.lo / scale0;
  const float hi = range.hi / scale0;
  const float step = std::max(1.0f, std::nearbyint((hi - lo) / 15));
  const float zero = std::clamp(std::nearbyint(-lo / step), 0.0f, 15.0f);
  ops.to_uint4(x, count, scale0, step, zero, u);
  scale2 = static_cast<uint8_t>(step);
  zero2 = static_cast<uint8_t>(zero);
}

Status Quantize(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                QuantizedRows& rows) {
  const int64_t k = module.k;
  const int64_t group_size = module.args.weights.group_size;
  const int64_t groups = k / group_size;
  rows.count = count;
  rows.codes.resize(static_cast<size_t>(count * k));
  rows.scales.resize(static_cast<size_t>(count));
  rows.scales2.resize(static_cast<size_t>(count * groups));
  rows.zeros2.resize(static_cast<size_t>(count * groups));
  for (int64_t row = 0; row < count; ++row) {
    const float* values = x + row * k;
    OCTAVO_ASSIGN_OR_RETURN(const float absmax, AbsMax(module, values, row_begin + row, 1));
    float scale = RoundToDType(module.dtype, absmax / kProtectiveRange);
    if (scale == 0) scale = RoundToDType(module.dtype, 0x1p-7f);
    rows.scales[static_cast<size_t>(row)] = scale;
    for (int64_t group = 0; group < groups; ++group) {
      const auto at = static_cast<size_t>(row * groups + group);
      QuantizeGroup(values + group * group_size, group_size, scale,
                    rows.codes.data() + row * k + group * group_size, rows.scales2[at],
                    rows.zeros2[at]);
    }
  }
  return Status::Ok();
}

std::vector<TensorSpec> Tensors(const TargetModule& module) {
  const Shape groups{module.n, module.k / module.args.weights.group_size};
  return {{module.name + ".weight_packed", DType::kI32, Shape{module.n, PackedWords(module.k, 4)}},
          {module.name + ".weight_scale", module.dtype, Shape{module.n, 1}},
          {module.name + ".weight_scale_2", DType::kU8, groups},
          {module.name + ".weight_zero_2", DType::kU8, groups}};
}

template <typename T>
TensorPiece PieceOf(const std::vector<T>& values, uint64_t offset) {
  TensorPiece piece{offset, std::vector<std::byte>(values.size() * sizeof(T))};
  std::memcpy(piece.bytes.data(), values.data(), piece.bytes.size());
  return piece;
}

void Encode(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
            std::vector<TensorPiece>& pieces) {
  const int64_t row_bytes = PackedWords(module.k, 4) * 4;
  const int64_t groups = module.k / module.args.weights.group_size;
  std::vector<uint8_t> packed(static_cast<size_t>(rows.count * row_bytes));
  for (int64_t row = 0; row < rows.count; ++row) {
    PackSigned(rows.codes.data() + row * module.k, module.k, 4, 0, packed.data() + row * row_bytes);
  }
  pieces.clear();
  pieces.push_back(PieceOf(packed, static_cast<uint64_t>(row_begin * row_bytes)));
  if (module.dtype == DType::kF32) {
    pieces.push_back(PieceOf(rows.scales, static_cast<uint64_t>(row_begin) * 4));
  } else {
    std::vector<uint16_t> scales(rows.scales.size());
    std::transform(rows.scales.begin(), rows.scales.end(), scales.begin(),
                   module.dtype == DType::kF16 ? &F32ToF16 : &F32ToBf16);
    pieces.push_back(PieceOf(scales, static_cast<uint64_t>(row_begin) * 2));
  }
  pieces.push_back(PieceOf(rows.scales2, static_cast<uint64_t>(row_begin * groups)));
  pieces.push_back(PieceOf(rows.zeros2, static_cast<uint64_t>(row_begin * groups)));
}

void ToWeightRows(const TargetModule& /*module*/, QuantizedRows& from, WeightRows& to) {
  to.count = from.count;
  to.codes.swap(from.codes);
  to.scales.swap(from.scales);
  to.scales2.swap(from.scales2);
  to.zeros2.swap(from.zeros2);
  to.mins.clear();
}

// Level 1 alone is W8A8: codes (u - z) * s2 with the channel's scale.
void ToW8A8(const TargetModule& module, QuantizedRows& rows) {
  const int64_t group_size = module.args.weights.group_size;
  for (size_t i = 0; i < rows.codes.size(); ++i) {
    const size_t group = i / static_cast<size_t>(group_size);
    const int level1 = (rows.codes[i] - rows.zeros2[group]) * rows.scales2[group];
    rows.codes[i] = static_cast<uint8_t>(static_cast<int8_t>(level1));
  }
  rows.scales2.clear();
  rows.zeros2.clear();
}

class QoqSource final : public WeightSource {
 public:
  struct Tensors {
    const StoredTensor* packed = nullptr;
    const StoredTensor* scale = nullptr;
    const StoredTensor* scale2 = nullptr;
    const StoredTensor* zero2 = nullptr;
  };

  QoqSource(const StoredModule& module, const Tensors& tensors)
      : checkpoint_(*module.checkpoint), tensors_(tensors) {
    const TargetModule target{.name = module.name,
                              .n = tensors.packed->rows(),
                              .k = tensors.packed->cols() * 8,
                              .args = module.args};
    spec_ = SpecOf(target);
    info_ = {.name = tensors.packed->name,
             .scheme = module.scheme->name,
             .activation = ActivationFormat::kInt8,
             .stored_bytes = tensors.packed->bytes + tensors.scale->bytes + tensors.scale2->bytes +
                             tensors.zero2->bytes,
             .dequantized = tensors.scale->dtype,
             .note = {}};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    const auto row_bytes = static_cast<int64_t>(tensors_.packed->RowBytes());
    std::vector<uint8_t> words(static_cast<size_t>(count * row_bytes));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*tensors_.packed, row_begin, count, words.data()));
    for (int64_t row = 0; row < count; ++row) {
      UnpackInts(words.data() + row * row_bytes, spec_.k, 4, IntPacking::kDense,
                 rows.codes.data() + row * spec_.k);
    }
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsF32(*tensors_.scale, row_begin, count, rows.scales.data()));
    OCTAVO_RETURN_IF_ERROR(CheckFinite(*tensors_.scale, row_begin, 1, rows.scales));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*tensors_.scale2, row_begin, count, rows.scales2.data()));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*tensors_.zero2, row_begin, count, rows.zeros2.data()));
    return CheckInt8Range(row_begin, rows);
  }

 private:
  // Kernels compute (u - z) * s2 in int8 terms; a value outside would wrap on other engines.
  Status CheckInt8Range(int64_t row_begin, const WeightRows& rows) const {
    const int64_t groups = spec_.groups();
    for (int64_t at = 0; at < rows.count * groups; ++at) {
      const int scale = rows.scales2[static_cast<size_t>(at)];
      const int zero = rows.zeros2[static_cast<size_t>(at)];
      const uint8_t* u = rows.codes.data() + at * spec_.group_size;
      const auto [lo, hi] = std::minmax_element(u, u + spec_.group_size);
      if (zero <= 15 && (*lo - zero) * scale >= -128 && (*hi - zero) * scale <= 127) continue;
      return BadValue(*tensors_.scale2, row_begin + at / groups, at % groups,
                      fmt::format("is {} with zero {}: values {} to {}, want zero <= 15 and -128 to 127",
                                  scale, zero, (*lo - zero) * scale, (*hi - zero) * scale));
    }
    return Status::Ok();
  }

  const Checkpoint& checkpoint_;
  Tensors tensors_;
};

Result<std::unique_ptr<WeightSource>> Open(const StoredModule& module) {
  const Checkpoint& checkpoint = *module.checkpoint;
  QoqSource::Tensors set;
  OCTAVO_ASSIGN_OR_RETURN(set.packed, FindTensor(checkpoint, module.name + ".weight_packed"));
  OCTAVO_ASSIGN_OR_RETURN(set.scale, FindTensor(checkpoint, module.name + ".weight_scale"));
  OCTAVO_ASSIGN_OR_RETURN(set.scale2, FindTensor(checkpoint, module.name + ".weight_scale_2"));
  OCTAVO_ASSIGN_OR_RETURN(set.zero2, FindTensor(checkpoint, module.name + ".weight_zero_2"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.packed, {DType::kI32}, std::nullopt));
  const int64_t n = set.packed->rows();
  const int64_t k = set.packed->cols() * 8;
  const int64_t group_size = module.args.weights.group_size;
  if (set.packed->shape.rank() != 2 || k % group_size != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [out, in / 8] with in a multiple of {}",
                                set.packed->file->path(), set.packed->name,
                                set.packed->shape.ToString(), group_size));
  }
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(*set.scale, {DType::kBF16, DType::kF16, DType::kF32}, Shape{n, 1}));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.scale2, {DType::kU8}, Shape{n, k / group_size}));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.zero2, {DType::kU8}, Shape{n, k / group_size}));
  return std::unique_ptr<WeightSource>(std::make_unique<QoqSource>(module, set));
}

}  // namespace

extern const Scheme kScheme_qoq_g128;
constinit const Scheme kScheme_qoq_g128 = {
    .name = "QOQ_G128",
    .summary = "progressive uint4 in groups of 128 on int8 per channel, int8 activations per token",
    .online_name = "qoq_g128",
    .method = "octavo_qoq",
    .format = "",
    .args = {.weights = {.num_bits = 4,
                         .symmetric = false,
                         .strategy = Strategy::kGroup,
                         .group_size = 128},
             .input = QuantArgs{.num_bits = 8, .strategy = Strategy::kToken, .dynamic = true}},
    .open = &Open,
    .quantize = &Quantize,
    .tensors = &Tensors,
    .encode = &Encode,
    .spec = &SpecOf,
    .to_weight_rows = &ToWeightRows,
    .to_w8a8 = &ToW8A8,
};

}  // namespace octavo
