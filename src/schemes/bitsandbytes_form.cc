// SPDX-License-Identifier: Apache-2.0
// Reading side of the bitsandbytes forms.
#include "schemes/bitsandbytes_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "schemes/dequantized_source.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

// QLoRA, arXiv:2305.14314, appendix E, as bitsandbytes rounds it to f32.
constexpr std::array<float, 16> kNf4 = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f};

// Sign, two exponent bits and one of mantissa, scaled so that the largest is 1.
constexpr std::array<float, 16> kFp4 = {
    0.0f,  0.0052083334885537624f,  0.6666666865348816f,  1.0f,
    0.3333333432674408f,  0.5f,  0.1666666716337204f,  0.25f,
    0.0f, -0.0052083334885537624f, -0.6666666865348816f, -1.0f,
    -0.3333333432674408f, -0.5f, -0.1666666716337204f, -0.25f};

class BnbInt8Source final : public WeightSource {
 public:
  BnbInt8Source(const StoredModule& module, const StoredTensor& weight, std::vector<float> absmax,
                KeptColumns kept, uint64_t stored_bytes)
      : checkpoint_(*module.checkpoint), weight_(weight), absmax_(std::move(absmax)), kept_(std::move(kept)) {
    spec_ = {.code = CodeType::kInt,
             .bits = 8,
             .scales = ScaleLayout::kChannel,
             .n = weight.rows(),
             .k = weight.cols()};
    info_ = {.name = weight.name,
             .scheme = module.scheme->name,
             .activation = ActivationFormat::kInt8,
             .outlier_threshold = module.args.outlier_threshold,
             .stored_bytes = stored_bytes,
             .dequantized = DType::kF32,
             .note = OutlierNote(module.args)};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    for (int64_t row = 0; row < count; ++row) {
      rows.scales[static_cast<size_t>(row)] = absmax_[static_cast<size_t>(row_begin + row)] * kBnbInverse127;
    }
    return checkpoint_.ReadRowsBytes(weight_, row_begin, count, rows.codes.data());
  }

  Result<KeptColumns> ReadKeptColumns() const override { return kept_; }

  // bitsandbytes multiplies from the left: (q * absmax) * (1 / 127), each product rounded.
  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    WeightRows rows;
    OCTAVO_RETURN_IF_ERROR(ReadRows(row_begin, count, rows));
    for (int64_t row = 0; row < count; ++row) {
      const float absmax = absmax_[static_cast<size_t>(row_begin + row)];
      for (int64_t i = row * spec_.k; i < (row + 1) * spec_.k; ++i) {
        const auto q = static_cast<int8_t>(rows.codes[static_cast<size_t>(i)]);
        const float product = static_cast<float>(q) * absmax;
        out[i] = product * kBnbInverse127;
      }
    }
    return Status::Ok();
  }

 private:
  const Checkpoint& checkpoint_;
  const StoredTensor& weight_;
  std::vector<float> absmax_;  // [n]
  KeptColumns kept_;
};

// What weight.quant_state.bitsandbytes__* says.
struct QuantState {
  const std::array<float, 16>* table = nullptr;
  DType dtype = DType::kBF16;
  int64_t block_size = 64;
  int64_t n = 0;
  int64_t k = 0;
  bool nested = false;
  int64_t nested_block_size = 256;
  float nested_offset = 0;

  int64_t blocks() const { return (n * k + block_size - 1) / block_size; }
};

class Bnb4BitSource final : public FloatSource {
 public:
  Bnb4BitSource(const StoredModule& module, const StoredTensor& weight, const QuantState& state,
                std::vector<float> absmax, uint64_t stored_bytes)
      : weight_(weight), state_(state), absmax_(std::move(absmax)) {
    info_ = {.name = weight.name,
             .scheme = state.table == &kNf4 ? "BNB_NF4" : "BNB_FP4",
             .stored_bytes = stored_bytes,
             .dequantized = state.dtype,
             .note = fmt::format("{}: 4-bit table codes run as {}", module.scheme->name,
                                 NameOf(state.dtype))};
    SetFloatSpec(state.dtype, state.n, state.k);
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    const int64_t first = row_begin * spec_.k;
    const int64_t elements = count * spec_.k;
    if (elements == 0) return Status::Ok();
    const int64_t byte_begin = first / 2;
    std::vector<uint8_t> bytes(static_cast<size_t>((first + elements + 1) / 2 - byte_begin));
    OCTAVO_RETURN_IF_ERROR(weight_.file->ReadRange(weight_.offset + static_cast<uint64_t>(byte_begin),
                                                   bytes.size(), bytes.data()));
    for (int64_t i = 0; i < elements; ++i) {
      const int64_t at = first + i;
      const uint8_t byte = bytes[static_cast<size_t>(at / 2 - byte_begin)];
      const uint8_t code = at % 2 == 0 ? byte >> 4 : byte & 15;
      out[i] = RoundToDType(state_.dtype, (*state_.table)[code] *
                                              absmax_[static_cast<size_t>(at / state_.block_size)]);
    }
    return Status::Ok();
  }

 private:
  const StoredTensor& weight_;
  QuantState state_;
  std::vector<float> absmax_;  // [blocks]
};

// All values of a small F32 tensor of `count` elements, which must be finite.
Result<std::vector<float>> ReadFloats(const Checkpoint& checkpoint, const std::string& name,
                                      int64_t count, uint64_t& stored_bytes) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor, FindTensor(checkpoint, name));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kF32}, Shape{count}));
  std::vector<float> values(static_cast<size_t>(count));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*tensor, values.data()));
  OCTAVO_RETURN_IF_ERROR(CheckFinite(*tensor, 0, 1, values));
  stored_bytes += tensor->bytes;
  return values;
}

// outlier_columns and outlier_weight, if the module has them.
Result<KeptColumns> ReadKept(const StoredModule& module, const StoredTensor& weight, uint64_t& stored_bytes) {
  KeptColumns kept;
  const Checkpoint& checkpoint = *module.checkpoint;
  const StoredTensor* columns = checkpoint.Find(module.name + kOutlierColumns);
  if (columns == nullptr || module.args.outlier_threshold == 0) return kept;
  const int64_t count = columns->shape.NumElements();
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*columns, {DType::kI32}, Shape{count}));
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* values, FindTensor(checkpoint, module.name + kOutlierWeight));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*values, {DType::kBF16}, Shape{weight.rows(), count}));
  std::vector<int32_t> indices(static_cast<size_t>(count));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*columns, indices.data()));
  int64_t previous = -1;
  for (const int32_t index : indices) {
    if (index <= previous || index >= weight.cols() || index > UINT16_MAX) {
      return DataLoss(fmt::format("{}: tensor '{}' holds {} after {}, want ascending columns of {}",
                                  columns->file->path(), columns->name, index, previous, weight.cols()));
    }
    previous = index;
    kept.columns.push_back(static_cast<uint16_t>(index));
  }
  std::vector<uint16_t> rows(static_cast<size_t>(values->shape.NumElements()));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*values, rows.data()));
  kept.values.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto column = static_cast<int64_t>(i) % count;
    const auto row = static_cast<int64_t>(i) / count;
    kept.values[static_cast<size_t>(column * weight.rows() + row)] = rows[i];
  }
  stored_bytes += columns->bytes + values->bytes;
  return kept;
}

Status ParseState(const Json& json, QuantState& state) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string dtype, GetString(json, "dtype"));
  if (dtype == "bfloat16") {
    state.dtype = DType::kBF16;
  } else if (dtype == "float16") {
    state.dtype = DType::kF16;
  } else if (dtype == "float32") {
    state.dtype = DType::kF32;
  } else {
    return InvalidArgument(
        fmt::format("'dtype' is '{:.40}', want bfloat16, float16 or float32", dtype));
  }
  OCTAVO_ASSIGN_OR_RETURN(state.block_size, GetInt(json, "blocksize", 32, 4096));
  const Json* shape = Find(json, "shape");
  if (shape == nullptr || !shape->is_array() || shape->size() != 2) {
    return InvalidArgument("'shape' must be [out, in]");
  }
  constexpr int64_t kMaxExtent = int64_t{1} << 31;
  const Json extents = {{"out", (*shape)[0]}, {"in", (*shape)[1]}};
  OCTAVO_ASSIGN_OR_RETURN(state.n, GetInt(extents, "out", 1, kMaxExtent));
  OCTAVO_ASSIGN_OR_RETURN(state.k, GetInt(extents, "in", 1, kMaxExtent));
  state.nested = Find(json, "nested_blocksize") != nullptr;
  if (!state.nested) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(state.nested_block_size, GetInt(json, "nested_blocksize", 1, 4096));
  OCTAVO_ASSIGN_OR_RETURN(const double offset, GetDoubleOr(json, "nested_offset", 0));
  state.nested_offset = static_cast<float>(offset);
  if (!std::isfinite(state.nested_offset)) return InvalidArgument("'nested_offset' is not finite");
  return Status::Ok();
}

Result<QuantState> ReadState(const Checkpoint& checkpoint, const std::string& weight) {
  constexpr uint64_t kMaxJsonBytes = 1 << 16;
  QuantState state;
  const std::string prefix = weight + ".quant_state.bitsandbytes__";
  const StoredTensor* tensor = checkpoint.Find(prefix + "nf4");
  state.table = tensor != nullptr ? &kNf4 : &kFp4;
  if (tensor == nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(tensor, FindTensor(checkpoint, prefix + "fp4"));
  }
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kU8}, std::nullopt));
  std::string text(std::min(tensor->bytes, kMaxJsonBytes), '\0');
  if (tensor->bytes > kMaxJsonBytes) {
    return DataLoss(fmt::format("{}: tensor '{}': {} bytes of JSON, want at most {}",
                                tensor->file->path(), tensor->name, tensor->bytes, kMaxJsonBytes));
  }
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*tensor, text.data()));
  auto json = ParseJson(text);
  Status status = json.ok() ? ParseState(*json, state) : json.status();
  if (status.ok()) return state;
  return std::move(status).WithContext(
      fmt::format("{}: tensor '{}'", tensor->file->path(), tensor->name));
}

// Each block's absmax in f32, from whichever of the two ways it is stored.
Result<std::vector<float>> ReadAbsMax(const Checkpoint& checkpoint, const std::string& weight,
                                      const QuantState& state, uint64_t& stored_bytes) {
  if (!state.nested) return ReadFloats(checkpoint, weight + ".absmax", state.blocks(), stored_bytes);
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor, FindTensor(checkpoint, weight + ".absmax"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*tensor, {DType::kU8}, Shape{state.blocks()}));
  std::vector<uint8_t> codes(static_cast<size_t>(state.blocks()));
  OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*tensor, codes.data()));
  stored_bytes += tensor->bytes;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> map,
                          ReadFloats(checkpoint, weight + ".nested_quant_map", 256, stored_bytes));
  const int64_t outer = (state.blocks() + state.nested_block_size - 1) / state.nested_block_size;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> scales,
                          ReadFloats(checkpoint, weight + ".nested_absmax", outer, stored_bytes));
  std::vector<float> absmax(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    const float product = map[codes[i]] * scales[i / static_cast<size_t>(state.nested_block_size)];
    absmax[i] = product + state.nested_offset;
  }
  return absmax;
}

// bitsandbytes decodes by its own tables, whatever the file says; another one means another format.
Status CheckTable(const Checkpoint& checkpoint, const std::string& weight, const QuantState& state) {
  const StoredTensor* tensor = checkpoint.Find(weight + ".quant_map");
  if (tensor == nullptr) return Status::Ok();
  uint64_t unused = 0;
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> map,
                          ReadFloats(checkpoint, weight + ".quant_map", 16, unused));
  for (size_t i = 0; i < map.size(); ++i) {
    if (map[i] == (*state.table)[i]) continue;
    return BadValue(*tensor, static_cast<int64_t>(i), 0,
                    fmt::format("is {}, want {}", map[i], (*state.table)[i]));
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<WeightSource>> OpenBnbInt8(const StoredModule& module) {
  const Checkpoint& checkpoint = *module.checkpoint;
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* weight, FindTensor(checkpoint, module.name + ".weight"));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*weight, {DType::kI8}, std::nullopt));
  if (weight->shape.rank() != 2) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [out, in]", weight->file->path(),
                                weight->name, weight->shape.ToString()));
  }
  if (const StoredTensor* format = checkpoint.Find(module.name + ".weight_format")) {
    OCTAVO_RETURN_IF_ERROR(CheckTensor(*format, {DType::kU8}, std::nullopt));
    OCTAVO_RETURN_IF_ERROR(CheckShape(*format, {Shape{}, Shape{1}}));
    uint8_t value = 0;
    OCTAVO_RETURN_IF_ERROR(checkpoint.ReadBytes(*format, &value));
    if (value != 0) {
      return Unimplemented(fmt::format("{}: tensor '{}' is {} (a GPU tile layout), want 0 (rows)",
                                       format->file->path(), format->name, value));
    }
  }
  uint64_t stored_bytes = weight->bytes;
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> absmax,
                          ReadFloats(checkpoint, module.name + ".SCB", weight->rows(), stored_bytes));
  OCTAVO_ASSIGN_OR_RETURN(KeptColumns kept, ReadKept(module, *weight, stored_bytes));
  return std::unique_ptr<WeightSource>(std::make_unique<BnbInt8Source>(
      module, *weight, std::move(absmax), std::move(kept), stored_bytes));
}

Result<std::unique_ptr<WeightSource>> OpenBnb4Bit(const StoredModule& module) {
  const Checkpoint& checkpoint = *module.checkpoint;
  const std::string name = module.name + ".weight";
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* weight, FindTensor(checkpoint, name));
  OCTAVO_RETURN_IF_ERROR(CheckTensor(*weight, {DType::kU8}, std::nullopt));
  OCTAVO_ASSIGN_OR_RETURN(const QuantState state, ReadState(checkpoint, name));
  const int64_t bytes = (state.n * state.k + 1) / 2;
  OCTAVO_RETURN_IF_ERROR(CheckShape(*weight, {Shape{bytes, 1}, Shape{1, bytes}, Shape{bytes}}));
  OCTAVO_RETURN_IF_ERROR(CheckTable(checkpoint, name, state));
  uint64_t stored_bytes = weight->bytes;
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> absmax,
                          ReadAbsMax(checkpoint, name, state, stored_bytes));
  return std::unique_ptr<WeightSource>(
      std::make_unique<Bnb4BitSource>(module, *weight, state, std::move(absmax), stored_bytes));
}

}  // namespace octavo
