// SPDX-License-Identifier: Apache-2.0
// Reading side of the compressed-tensors forms.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "base/float16.h"
#include "schemes/compressed_form.h"
#include "schemes/packed_ints.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

struct CompressedTensorSet {
  const StoredTensor* codes = nullptr;
  const StoredTensor* scales = nullptr;
  const StoredTensor* zeros = nullptr;  // asymmetric only
  bool packed = false;
  IntPacking codes_packing = IntPacking::kDense;
  IntPacking zeros_packing = IntPacking::kDense;
};

class CompressedSource final : public WeightSource {
 public:
  CompressedSource(const StoredModule& stored, TargetModule target, const CompressedTensorSet& set,
                   WeightInfo info)
      : checkpoint_(*stored.checkpoint), target_(std::move(target)), set_(set) {
    spec_ = CompressedSpec(target_);
    info_ = std::move(info);
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    QuantizedRows stored;
    stored.codes.swap(rows.codes);  // keeps the caller's memory in use
    stored.scales.swap(rows.scales);
    OCTAVO_RETURN_IF_ERROR(ReadStored(row_begin, count, stored));
    CompressedToWeightRows(target_, stored, rows);
    return Status::Ok();
  }

  // (q - zero_point) is exact; its product with the scale is rounded once, to the scale's type.
  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    QuantizedRows stored;
    OCTAVO_RETURN_IF_ERROR(ReadStored(row_begin, count, stored));
    const QuantArgs& args = target_.args.weights;
    const int64_t cols = ScaleCols(args, spec_.k);
    const int64_t span = args.strategy == Strategy::kBlock ? args.block_cols
                                                           : (spec_.k + cols - 1) / cols;
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t i = 0; i < spec_.k; ++i) {
        const auto at = static_cast<size_t>(row * spec_.k + i);
        const auto scale_at = static_cast<size_t>(row * cols + i / span);
        float value = spec_.code == CodeType::kE4M3
                          ? E4M3ToF32(stored.codes[at])
                          : static_cast<float>(static_cast<int8_t>(stored.codes[at]));
        if (!args.symmetric) value -= static_cast<float>(stored.zero_points[scale_at]);
        out[at] = RoundToDType(info_.dequantized, value * stored.scales[scale_at]);
      }
    }
    return Status::Ok();
  }

 private:
  Status ReadStored(int64_t row_begin, int64_t count, QuantizedRows& rows) const {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.count = count;
    OCTAVO_RETURN_IF_ERROR(ReadCodes(row_begin, count, rows.codes));
    OCTAVO_RETURN_IF_ERROR(ReadScales(row_begin, count, rows.scales));
    if (set_.zeros == nullptr) return Status::Ok();
    return ReadZeroPoints(row_begin, count, rows.zero_points);
  }

  Status ReadCodes(int64_t row_begin, int64_t count, std::vector<uint8_t>& codes) const {
    codes.resize(static_cast<size_t>(count * spec_.k));
    if (set_.packed) return ReadPackedCodes(row_begin, count, codes);
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*set_.codes, row_begin, count, codes.data()));
    if (spec_.code == CodeType::kE4M3) return CheckNoNan(row_begin, codes);
    return spec_.bits < 8 ? CheckIntRange(row_begin, codes) : Status::Ok();
  }

  Status ReadPackedCodes(int64_t row_begin, int64_t count, std::vector<uint8_t>& codes) const {
    const auto row_bytes = static_cast<int64_t>(set_.codes->RowBytes());
    std::vector<uint8_t> words(static_cast<size_t>(count * row_bytes));
    OCTAVO_RETURN_IF_ERROR(
        checkpoint_.ReadRowsBytes(*set_.codes, row_begin, count, words.data()));
    const auto offset = static_cast<uint8_t>(1u << (spec_.bits - 1));
    for (int64_t row = 0; row < count; ++row) {
      uint8_t* out = codes.data() + row * spec_.k;
      UnpackInts(words.data() + row * row_bytes, spec_.k, spec_.bits, set_.codes_packing, out);
      for (int64_t i = 0; i < spec_.k; ++i) out[i] = static_cast<uint8_t>(out[i] - offset);
    }
    return Status::Ok();
  }

  Status CheckNoNan(int64_t row_begin, const std::vector<uint8_t>& codes) const {
    unsigned found = 0;
    for (const uint8_t code : codes) found |= (code & 0x7fu) == 0x7fu;
    if (found == 0) return Status::Ok();
    const auto at = std::find_if(codes.begin(), codes.end(),
                                 [](uint8_t code) { return (code & 0x7fu) == 0x7fu; });
    return BadValue(*set_.codes, row_begin + (at - codes.begin()) / spec_.k,
                    (at - codes.begin()) % spec_.k, "is NaN, want a number");
  }

  Status CheckIntRange(int64_t row_begin, const std::vector<uint8_t>& codes) const {
    const int limit = 1 << (spec_.bits - 1);
    const auto outside = [limit](uint8_t code) {
      const int q = static_cast<int8_t>(code);
      return q < -limit || q >= limit;
    };
    unsigned found = 0;
    for (const uint8_t code : codes) found |= outside(code) ? 1u : 0u;
    if (found == 0) return Status::Ok();
    const auto at = std::find_if(codes.begin(), codes.end(), outside);
    return BadValue(*set_.codes, row_begin + (at - codes.begin()) / spec_.k,
                    (at - codes.begin()) % spec_.k,
                    fmt::format("is {}, want {} to {} (int{})", static_cast<int8_t>(*at), -limit,
                                limit - 1, spec_.bits));
  }

  // One row of scales per row of codes, whatever the strategy.
  Status ReadScales(int64_t row_begin, int64_t count, std::vector<float>& scales) const {
    const QuantArgs& args = target_.args.weights;
    const int64_t cols = ScaleCols(args, spec_.k);
    scales.resize(static_cast<size_t>(count * cols));
    if (count == 0) return Status::Ok();
    const bool shared = args.strategy == Strategy::kBlock || args.strategy == Strategy::kTensor;
    if (!shared) {
      OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsF32(*set_.scales, row_begin, count, scales.data()));
      return CheckFinite(*set_.scales, row_begin, cols, scales);
    }
    const int64_t step = args.strategy == Strategy::kBlock ? args.block_rows : spec_.n;
    const int64_t first = row_begin / step;
    const int64_t stored = (row_begin + count - 1) / step - first + 1;
    std::vector<float> blocks(static_cast<size_t>(stored * cols));
    OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsF32(*set_.scales, first, stored, blocks.data()));
    OCTAVO_RETURN_IF_ERROR(CheckFinite(*set_.scales, first, cols, blocks));
    for (int64_t row = 0; row < count; ++row) {
      const auto from = blocks.begin() + ((row_begin + row) / step - first) * cols;
      std::copy(from, from + cols, scales.begin() + row * cols);
    }
    return Status::Ok();
  }

  Status ReadZeroPoints(int64_t row_begin, int64_t count, std::vector<int8_t>& zeros) const {
    const int64_t cols = ScaleCols(target_.args.weights, spec_.k);
    zeros.resize(static_cast<size_t>(count * cols));
    if (set_.packed) return ReadPackedZeros(row_begin, count, cols, zeros);
    const Strategy strategy = target_.args.weights.strategy;
    if (strategy != Strategy::kTensor) {
      return checkpoint_.ReadRowsBytes(*set_.zeros, row_begin, count, zeros.data());
    }
    int8_t zero = 0;
    OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadBytes(*set_.zeros, &zero));
    std::fill(zeros.begin(), zeros.end(), zero);
    return Status::Ok();
  }

  Status ReadPackedZeros(int64_t row_begin, int64_t count, int64_t cols,
                         std::vector<int8_t>& zeros) const {
    if (count == 0) return Status::Ok();
    const int bits = spec_.bits;
    // Rows whose bits lie in whole words by themselves, so that a range can be read alone.
    const int64_t unit = set_.zeros_packing == IntPacking::kDense ? 32 : 32 / bits;
    const int64_t first_unit = row_begin / unit;
    const int64_t first_row = first_unit * unit;
    const int64_t last_row = std::min((row_begin + count + unit - 1) / unit * unit, spec_.n);
    const int64_t unit_words = PackedWords(unit, bits, set_.zeros_packing);
    const int64_t words = PackedWords(last_row - first_row, bits, set_.zeros_packing);
    std::vector<uint32_t> packed(static_cast<size_t>(words * cols));
    OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsBytes(*set_.zeros, first_unit * unit_words, words,
                                                     packed.data()));
    std::vector<uint32_t> column(static_cast<size_t>(words));
    std::vector<uint8_t> values(static_cast<size_t>(last_row - first_row));
    for (int64_t col = 0; col < cols; ++col) {
      for (int64_t w = 0; w < words; ++w) {
        column[static_cast<size_t>(w)] = packed[static_cast<size_t>(w * cols + col)];
      }
      UnpackInts(reinterpret_cast<const uint8_t*>(column.data()), last_row - first_row, bits,
                 set_.zeros_packing, values.data());
      for (int64_t row = 0; row < count; ++row) {
        zeros[static_cast<size_t>(row * cols + col)] = static_cast<int8_t>(
            values[static_cast<size_t>(row_begin - first_row + row)] - (1 << (bits - 1)));
      }
    }
    return Status::Ok();
  }

  const Checkpoint& checkpoint_;
  TargetModule target_;
  CompressedTensorSet set_;
};

// The packing whose width fits; both agree for 2, 4 and 8 bits.
std::optional<IntPacking> PackingOf(int64_t words, int64_t count, int bits) {
  for (const IntPacking packing : {IntPacking::kDense, IntPacking::kWordAligned}) {
    if (PackedWords(count, bits, packing) == words) return packing;
  }
  return std::nullopt;
}

Status OpenPackedCodes(const StoredModule& module, TargetModule& target, CompressedTensorSet& set) {
  const Checkpoint& checkpoint = *module.checkpoint;
  OCTAVO_ASSIGN_OR_RETURN(set.codes, FindTensor(checkpoint, module.name + ".weight_packed"));
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* shape,
                          FindTensor(checkpoint, module.name + ".weight_shape"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.codes, {DType::kI32}, std::nullopt));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*shape, {DType::kI64}, Shape{2}));
  int64_t extents[2] = {};
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*shape, extents));
  constexpr int64_t kMax = int64_t{1} << 31;
  const int bits = target.args.weights.num_bits;
  std::optional<IntPacking> packing;
  if (set.codes->shape.rank() == 2 && extents[0] == set.codes->rows() && extents[1] > 0 &&
      extents[1] < kMax) {
    packing = PackingOf(set.codes->cols(), extents[1], bits);
  }
  if (!packing) {
    return DataLoss(fmt::format("{}: {} holds [{}, {}], which does not fit {} of {} ({} bits)",
                                shape->file->path(), shape->name, extents[0], extents[1],
                                set.codes->name, set.codes->shape.ToString(), bits));
  }
  set.packed = true;
  set.codes_packing = *packing;
  target.n = extents[0];
  target.k = extents[1];
  return Status::Ok();
}

Status OpenPlainCodes(const StoredModule& module, TargetModule& target, CompressedTensorSet& set) {
  OCTAVO_ASSIGN_OR_RETURN(set.codes, FindTensor(*module.checkpoint, module.name + ".weight"));
  const DType want =
      target.args.weights.type == QuantType::kFloat ? DType::kF8E4M3 : DType::kI8;
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.codes, {want}, std::nullopt));
  if (set.codes->shape.rank() != 2) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [out, in]",
                                set.codes->file->path(), set.codes->name,
                                set.codes->shape.ToString()));
  }
  target.n = set.codes->rows();
  target.k = set.codes->cols();
  return Status::Ok();
}

// The group must divide k; compressed-tensors lets a row shorter than a group be one group.
Status CheckGroups(const CompressedTensorSet& set, const TargetModule& target) {
  const QuantArgs& args = target.args.weights;
  const int64_t k = target.k;
  if (args.strategy == Strategy::kGroup && k > args.group_size && k % args.group_size != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': {} columns are no multiple of group_size {}",
                                set.codes->file->path(), set.codes->name, k, args.group_size));
  }
  if (args.strategy == Strategy::kBlock && CompressedSpec(target).group_size < 16) {
    return Unimplemented(fmt::format("{}: tensor '{}': {} columns in blocks of {}",
                                     set.codes->file->path(), set.codes->name, k, args.block_cols));
  }
  return Status::Ok();
}

Status OpenScales(const StoredModule& module, TargetModule& target, CompressedTensorSet& set) {
  const Checkpoint& checkpoint = *module.checkpoint;
  const QuantArgs& args = target.args.weights;
  const StoredTensor* inverse = checkpoint.Find(module.name + ".weight_scale_inv");
  set.scales = checkpoint.Find(module.name + ".weight_scale");
  if (set.scales == nullptr) set.scales = inverse;
  if (set.scales == nullptr) {
    return FindTensor(checkpoint, module.name + ".weight_scale").status();
  }
  const int64_t cols = ScaleCols(args, target.k);
  std::vector<Shape> shapes = {Shape{target.n, cols}};
  if (args.strategy == Strategy::kTensor) shapes = {Shape{1}, Shape{}, Shape{1, 1}};
  if (args.strategy == Strategy::kBlock) {
    shapes = {Shape{(target.n + args.block_rows - 1) / args.block_rows, cols}};
  }
  if (cols == 1 && args.strategy == Strategy::kChannel) shapes.push_back(Shape{target.n});
  OCTAVO_RETURN_IF_ERROR(
      CheckTensor(*set.scales, {DType::kBF16, DType::kF16, DType::kF32}, std::nullopt));
  OCTAVO_RETURN_IF_ERROR(CheckShape(*set.scales, shapes));
  target.dtype = set.scales->dtype;
  return Status::Ok();
}

Status OpenZeroPoints(const StoredModule& module, const TargetModule& target,
                      CompressedTensorSet& set) {
  const QuantArgs& args = target.args.weights;
  if (args.symmetric) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(set.zeros,
                          FindTensor(*module.checkpoint, module.name + ".weight_zero_point"));
  if (!set.packed) {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.zeros, {DType::kI8}, std::nullopt));
    return CheckShape(*set.zeros, {set.scales->shape});
  }
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*set.zeros, {DType::kI32}, std::nullopt));
  const int64_t cols = ScaleCols(args, target.k);
  const auto packing = PackingOf(set.zeros->rows(), target.n, args.num_bits);
  if (!packing || set.zeros->shape.rank() != 2 || set.zeros->cols() != cols) {
    return CheckShape(*set.zeros, {Shape{PackedWords(target.n, args.num_bits), cols}});
  }
  set.zeros_packing = *packing;
  return Status::Ok();
}

// Sets the scale of static activations. A checkpoint without one runs with a scale per token.
Status OpenInputScale(const StoredModule& module, ActivationChoice& activation, WeightInfo& info) {
  if (!activation.static_scale) return Status::Ok();
  const StoredTensor* tensor = module.checkpoint->Find(module.name + ".input_scale");
  if (tensor == nullptr) {
    info.note = "no input_scale for static activations: run with a scale per token";
    return Status::Ok();
  }
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kBF16, DType::kF16, DType::kF32}, std::nullopt));
  OCTAVO_RETURN_IF_ERROR(CheckShape(*tensor, {Shape{1}, Shape{}, Shape{1, 1}}));
  OCTAVO_RETURN_IF_ERROR(module.checkpoint->ReadRowsF32(*tensor, 0, 1, &info.input_scale));
  if (std::isfinite(info.input_scale) && info.input_scale > 0) return Status::Ok();
  return BadValue(*tensor, 0, 0, fmt::format("is {}, want a positive number", info.input_scale));
}

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenCompressed(const StoredModule& module) {
  TargetModule target{.name = module.name, .args = module.args};
  CompressedTensorSet set;
  const bool packed = module.args.weights.type == QuantType::kInt &&
                      module.checkpoint->Find(module.name + ".weight_packed") != nullptr;
  OCTAVO_RETURN_IF_ERROR(packed ? OpenPackedCodes(module, target, set)
                                : OpenPlainCodes(module, target, set));
  OCTAVO_RETURN_IF_ERROR(CheckGroups(set, target));
  OCTAVO_RETURN_IF_ERROR(OpenScales(module, target, set));
  OCTAVO_RETURN_IF_ERROR(OpenZeroPoints(module, target, set));
  OCTAVO_ASSIGN_OR_RETURN(ActivationChoice activation, ChooseActivation(module.args));
  WeightInfo info{.name = set.codes->name,
                  .scheme = module.scheme->name,
                  .activation = activation.format,
                  .stored_bytes = set.codes->bytes + set.scales->bytes +
                                  (set.zeros == nullptr ? 0 : set.zeros->bytes),
                  .dequantized = target.dtype,
                  .note = std::move(activation.note)};
  OCTAVO_RETURN_IF_ERROR(OpenInputScale(module, activation, info));
  return std::unique_ptr<WeightSource>(
      std::make_unique<CompressedSource>(module, std::move(target), set, std::move(info)));
}

}  // namespace octavo
