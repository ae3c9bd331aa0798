// SPDX-License-Identifier: Apache-2.0
// Reading side of the GPTQ and AWQ forms.
#include "schemes/transposed_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "schemes/dequantized_source.h"
#include "schemes/packed_ints.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

// Word `index` of packed fields that are all 1.
uint32_t PackedOnes(int bits, size_t index) {
  uint32_t word = 0;
  for (size_t bit = index * 32; bit < index * 32 + 32; ++bit) {
    if (bit % static_cast<size_t>(bits) == 0) word |= 1u << (bit - index * 32);
  }
  return word;
}

enum class Layout { kGptqV1, kGptqV2, kAwq };

// One matrix: scales, zeros and groups in memory, the codes once somebody reads rows.
class TransposedMatrix {
 public:
  static Result<std::unique_ptr<TransposedMatrix>> Open(const StoredModule& module, Layout layout);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  int bits() const { return bits_; }
  int64_t groups() const { return groups_; }
  int64_t group_size() const { return group_size_; }
  bool symmetric() const { return symmetric_; }
  bool contiguous() const { return group_of_.empty(); }
  uint64_t stored_bytes() const { return stored_bytes_; }
  const StoredTensor& codes_tensor() const { return *codes_; }
  DType scale_type() const { return scales_tensor_->dtype; }

  int64_t GroupOf(int64_t i) const {
    return contiguous() ? i / group_size_ : group_of_[static_cast<size_t>(i)];
  }
  // [groups] of one output.
  const uint8_t* zeros(int64_t row) const { return zeros_.data() + row * groups_; }
  const float* scales(int64_t row) const { return scales_.data() + row * groups_; }

  // Codes of rows, [count, k].
  Status ReadCodes(int64_t row_begin, int64_t count, uint8_t* codes) const;

 private:
  Status OpenShape(const StoredModule& module);
  Status ReadGroups(const StoredModule& module);
  Status ReadScales(const StoredModule& module);
  Status ReadZeros(const StoredModule& module);
  Status LoadWords() const;
  void GptqCodes(int64_t row_begin, int64_t count, uint8_t* codes) const;
  void AwqCodes(int64_t row_begin, int64_t count, uint8_t* codes) const;

  const Checkpoint* checkpoint_ = nullptr;
  Layout layout_ = Layout::kGptqV1;
  const StoredTensor* codes_ = nullptr;
  const StoredTensor* scales_tensor_ = nullptr;
  int64_t n_ = 0, k_ = 0, groups_ = 0, group_size_ = 0;
  int bits_ = 4;
  bool symmetric_ = false;
  uint64_t stored_bytes_ = 0;
  std::vector<int32_t> group_of_;  // [k], empty when contiguous
  std::vector<float> scales_;      // [n, groups]
  std::vector<uint8_t> zeros_;     // [n, groups]

  // Rows are columns of the file, so that a few of them touch all of it: it is read once, packed.
  mutable std::once_flag loaded_;
  mutable Status load_status_;
  mutable std::vector<uint32_t> words_;
};

Status WrongShape(const StoredTensor& tensor, const std::string& want) {
  return DataLoss(fmt::format("{}: tensor '{}': shape {}, want {}", tensor.file->path(), tensor.name,
                              tensor.shape.ToString(), want));
}

Status TransposedMatrix::OpenShape(const StoredModule& module) {
  OCTAVO_ASSIGN_OR_RETURN(codes_, FindTensor(*checkpoint_, module.name + ".qweight"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*codes_, {DType::kI32}, std::nullopt));
  bits_ = module.args.weights.num_bits;
  const bool matrix = codes_->shape.rank() == 2 && codes_->rows() > 0 && codes_->cols() > 0;
  if (layout_ == Layout::kAwq) {
    if (!matrix) return WrongShape(*codes_, "[in, out / 8]");
    k_ = codes_->rows();
    n_ = codes_->cols() * 8;
    return Status::Ok();
  }
  const int64_t bit_count = codes_->rows() * 32;
  if (!matrix || bit_count % bits_ != 0 || codes_->cols() * bits_ % 32 != 0) {
    return WrongShape(*codes_, fmt::format("[in * {0} / 32, out] with out * {0} a multiple of 32", bits_));
  }
  k_ = bit_count / bits_;
  n_ = codes_->cols();
  return Status::Ok();
}

Status TransposedMatrix::ReadScales(const StoredModule& module) {
  const QuantArgs& args = module.args.weights;
  group_size_ = args.strategy == Strategy::kGroup ? std::min<int64_t>(args.group_size, k_) : k_;
  groups_ = (k_ + group_size_ - 1) / group_size_;
  OCTAVO_ASSIGN_OR_RETURN(scales_tensor_, FindTensor(*checkpoint_, module.name + ".scales"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*scales_tensor_, {DType::kF16, DType::kBF16, DType::kF32},
                                     Shape{groups_, n_}));
  std::vector<float> stored(static_cast<size_t>(groups_ * n_));
  OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadRowsF32(*scales_tensor_, 0, groups_, stored.data()));
  OCTAVO_RETURN_IF_ERROR(CheckFinite(*scales_tensor_, 0, n_, stored));
  scales_.resize(stored.size());
  for (int64_t group = 0; group < groups_; ++group) {
    for (int64_t row = 0; row < n_; ++row) {
      scales_[static_cast<size_t>(row * groups_ + group)] =
          stored[static_cast<size_t>(group * n_ + row)];
    }
  }
  return Status::Ok();
}

Status TransposedMatrix::ReadZeros(const StoredModule& module) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor,
                          FindTensor(*checkpoint_, module.name + ".qzeros"));
  const int64_t width = n_ * bits_ / 32;
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kI32}, Shape{groups_, width}));
  stored_bytes_ = codes_->bytes + scales_tensor_->bytes + tensor->bytes;
  std::vector<uint32_t> words(static_cast<size_t>(groups_ * width));
  OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadBytes(*tensor, words.data()));
  zeros_.resize(static_cast<size_t>(n_ * groups_));
  std::vector<uint8_t> fields(static_cast<size_t>(n_));
  for (int64_t group = 0; group < groups_; ++group) {
    uint32_t* row = words.data() + group * width;
    if (layout_ == Layout::kGptqV1) AddPackedOnes(bits_, {row, static_cast<size_t>(width)});
    UnpackInts(reinterpret_cast<const uint8_t*>(row), n_, bits_, IntPacking::kDense, fields.data());
    for (int64_t out = 0; out < n_; ++out) {
      const int64_t field =
          layout_ == Layout::kAwq ? out / 8 * 8 + kAwqNibble[static_cast<size_t>(out % 8)] : out;
      zeros_[static_cast<size_t>(out * groups_ + group)] = fields[static_cast<size_t>(field)];
    }
  }
  const int middle = 1 << (bits_ - 1);
  symmetric_ = std::all_of(zeros_.begin(), zeros_.end(), [middle](uint8_t z) { return z == middle; });
  return Status::Ok();
}

Status TransposedMatrix::ReadGroups(const StoredModule& module) {
  const StoredTensor* tensor = checkpoint_->Find(module.name + ".g_idx");
  if (tensor == nullptr || layout_ == Layout::kAwq) return Status::Ok();
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kI32}, Shape{k_}));
  group_of_.resize(static_cast<size_t>(k_));
  OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadBytes(*tensor, group_of_.data()));
  bool contiguous = true;
  for (int64_t i = 0; i < k_; ++i) {
    const int64_t group = group_of_[static_cast<size_t>(i)];
    if (group < 0 || group >= groups_) {
      return BadValue(*tensor, i, 0, fmt::format("is {}, want 0 to {}", group, groups_ - 1));
    }
    contiguous &= group == i / group_size_;
  }
  if (contiguous) group_of_.clear();
  return Status::Ok();
}

Result<std::unique_ptr<TransposedMatrix>> TransposedMatrix::Open(const StoredModule& module,
                                                                 Layout layout) {
  auto matrix = std::make_unique<TransposedMatrix>();
  matrix->checkpoint_ = module.checkpoint;
  matrix->layout_ = layout;
  OCTAVO_RETURN_IF_ERROR(matrix->OpenShape(module));
  OCTAVO_RETURN_IF_ERROR(matrix->ReadScales(module));
  OCTAVO_RETURN_IF_ERROR(matrix->ReadZeros(module));
  OCTAVO_RETURN_IF_ERROR(matrix->ReadGroups(module));
  return matrix;
}

Status TransposedMatrix::LoadWords() const {
  std::call_once(loaded_, [this] {
    words_.resize(codes_->bytes / sizeof(uint32_t));
    load_status_ = checkpoint_->ReadBytes(*codes_, words_.data());
  });
  return load_status_;
}

// Gathers the bit strings of the columns, which are then ordinary packed rows.
void TransposedMatrix::GptqCodes(int64_t row_begin, int64_t count, uint8_t* codes) const {
  const int64_t words = codes_->rows();
  std::vector<uint32_t> columns(static_cast<size_t>(count * words));
  for (int64_t word = 0; word < words; ++word) {
    const uint32_t* from = words_.data() + word * n_ + row_begin;
    for (int64_t row = 0; row < count; ++row) columns[static_cast<size_t>(row * words + word)] = from[row];
  }
  for (int64_t row = 0; row < count; ++row) {
    UnpackInts(reinterpret_cast<const uint8_t*>(columns.data() + row * words), k_, bits_,
               IntPacking::kDense, codes + row * k_);
  }
}

void TransposedMatrix::AwqCodes(int64_t row_begin, int64_t count, uint8_t* codes) const {
  const int64_t width = n_ / 8;
  for (int64_t i = 0; i < k_; ++i) {
    const uint32_t* from = words_.data() + i * width;
    for (int64_t row = 0; row < count; ++row) {
      const int64_t out = row_begin + row;
      const int shift = 4 * kAwqNibble[static_cast<size_t>(out % 8)];
      codes[row * k_ + i] = static_cast<uint8_t>(from[out / 8] >> shift & 15);
    }
  }
}

Status TransposedMatrix::ReadCodes(int64_t row_begin, int64_t count, uint8_t* codes) const {
  OCTAVO_RETURN_IF_ERROR(LoadWords());
  if (layout_ == Layout::kAwq) {
    AwqCodes(row_begin, count, codes);
  } else {
    GptqCodes(row_begin, count, codes);
  }
  return Status::Ok();
}

// (code - zero) is exact; its product with the scale is rounded once, to the scale's type.
Status Dequantize(const TransposedMatrix& matrix, int64_t row_begin, int64_t count, float* out) {
  const int64_t k = matrix.k();
  std::vector<uint8_t> codes(static_cast<size_t>(count * k));
  OCTAVO_RETURN_IF_ERROR(matrix.ReadCodes(row_begin, count, codes.data()));
  for (int64_t row = 0; row < count; ++row) {
    const uint8_t* zeros = matrix.zeros(row_begin + row);
    const float* scales = matrix.scales(row_begin + row);
    for (int64_t i = 0; i < k; ++i) {
      const int64_t group = matrix.GroupOf(i);
      const int level = codes[static_cast<size_t>(row * k + i)] - zeros[group];
      out[row * k + i] = RoundToDType(matrix.scale_type(), static_cast<float>(level) * scales[group]);
    }
  }
  return Status::Ok();
}

WeightInfo InfoOf(const StoredModule& module, const TransposedMatrix& matrix) {
  return {.name = matrix.codes_tensor().name,
          .scheme = module.scheme->name,
          .activation = ActivationFormat::kBf16,
          .stored_bytes = matrix.stored_bytes(),
          .dequantized = matrix.scale_type(),
          .note = {}};
}

// Groups as kernels want them: codes and scales travel as they are.
class TransposedSource final : public WeightSource {
 public:
  TransposedSource(std::unique_ptr<TransposedMatrix> matrix, const WeightSpec& spec, WeightInfo info)
      : matrix_(std::move(matrix)) {
    spec_ = spec;
    info_ = std::move(info);
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    OCTAVO_RETURN_IF_ERROR(matrix_->ReadCodes(row_begin, count, rows.codes.data()));
    const int64_t groups = spec_.groups();
    for (int64_t row = 0; row < count; ++row) {
      const float* scales = matrix_->scales(row_begin + row);
      const uint8_t* zeros = matrix_->zeros(row_begin + row);
      std::copy_n(scales, groups, rows.scales.begin() + row * groups);
      for (int64_t group = 0; group < groups && spec_.has_min; ++group) {
        rows.mins[static_cast<size_t>(row * groups + group)] =
            -static_cast<float>(zeros[group]) * scales[group];
      }
    }
    if (spec_.has_min) return Status::Ok();
    const auto middle = static_cast<uint8_t>(1u << (spec_.bits - 1));
    for (uint8_t& code : rows.codes) code = static_cast<uint8_t>(code - middle);
    return Status::Ok();
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    return Dequantize(*matrix_, row_begin, count, out);
  }

 private:
  std::unique_ptr<TransposedMatrix> matrix_;
};

// Scattered groups (or groups no kernel takes): values, which kernels get in bf16.
class ScatteredSource final : public FloatSource {
 public:
  ScatteredSource(std::unique_ptr<TransposedMatrix> matrix, WeightInfo info)
      : matrix_(std::move(matrix)) {
    info_ = std::move(info);
    SetFloatSpec(DType::kBF16, matrix_->n(), matrix_->k());
    info_.note = matrix_->contiguous()
                     ? fmt::format("groups of {} columns: expanded to bf16", matrix_->group_size())
                     : "act-order: groups are scattered over the inputs, expanded to bf16";
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    return Dequantize(*matrix_, row_begin, count, out);
  }

 private:
  std::unique_ptr<TransposedMatrix> matrix_;
};

WeightSpec SpecOf(const TransposedMatrix& matrix) {
  WeightSpec spec{.code = CodeType::kInt,
                  .bits = matrix.bits(),
                  .scales = ScaleLayout::kGroup,
                  .group_size = static_cast<int>(matrix.group_size()),
                  .has_min = !matrix.symmetric(),
                  .n = matrix.n(),
                  .k = matrix.k()};
  if (matrix.groups() == 1 && !spec.has_min) {
    spec.scales = ScaleLayout::kChannel;
    spec.group_size = 0;
  }
  return spec;
}

Result<std::unique_ptr<WeightSource>> OpenTransposed(const StoredModule& module, Layout layout) {
  OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<TransposedMatrix> matrix,
                          TransposedMatrix::Open(module, layout));
  WeightInfo info = InfoOf(module, *matrix);
  const WeightSpec spec = SpecOf(*matrix);
  if (!matrix->contiguous() || !IsLegalPair(spec, ActivationFormat::kBf16)) {
    return std::unique_ptr<WeightSource>(
        std::make_unique<ScatteredSource>(std::move(matrix), std::move(info)));
  }
  return std::unique_ptr<WeightSource>(
      std::make_unique<TransposedSource>(std::move(matrix), spec, std::move(info)));
}

}  // namespace

void AddPackedOnes(int bits, std::span<uint32_t> words) {
  uint64_t carry = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (bits != 3 || i % 3 == 0) carry = 0;
    const uint64_t sum = uint64_t{words[i]} + PackedOnes(bits, i) + carry;
    words[i] = static_cast<uint32_t>(sum);
    carry = sum >> 32;
  }
}

void SubtractPackedOnes(int bits, std::span<uint32_t> words) {
  uint64_t borrow = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (bits != 3 || i % 3 == 0) borrow = 0;
    const uint64_t difference = uint64_t{words[i]} - PackedOnes(bits, i) - borrow;
    words[i] = static_cast<uint32_t>(difference);
    borrow = difference >> 63;
  }
}

Result<std::unique_ptr<WeightSource>> OpenGptq(const StoredModule& module) {
  return OpenTransposed(module, Layout::kGptqV1);
}

Result<std::unique_ptr<WeightSource>> OpenGptqV2(const StoredModule& module) {
  return OpenTransposed(module, Layout::kGptqV2);
}

Result<std::unique_ptr<WeightSource>> OpenAwq(const StoredModule& module) {
  return OpenTransposed(module, Layout::kAwq);
}

}  // namespace octavo
