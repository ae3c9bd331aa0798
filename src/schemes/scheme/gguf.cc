// SPDX-License-Identifier: Apache-2.0
// Weights in the blocks of a GGUF file (Q4_0 ... Q6_K), run at their own bits with int8 activations that have a
// scale per 32 columns, as ggml runs them (or with 16-bit activations: LoadOptions).
//
// A block becomes groups of 16 or 32 columns with a scale (and minimum): exactly the values that ggml
// computes from the stored half floats and sub-block scales, which kernels may keep in that form.
#include <fmt/format.h>

#include "schemes/scheme.h"
#include "schemes/tensor_checks.h"

namespace octavo {
namespace {

// "GGUF Q4_K" for each block type that can be read.
std::string_view SchemeName(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0: return "GGUF Q4_0";
    case GgmlType::kQ4_1: return "GGUF Q4_1";
    case GgmlType::kQ5_0: return "GGUF Q5_0";
    case GgmlType::kQ5_1: return "GGUF Q5_1";
    case GgmlType::kQ8_0: return "GGUF Q8_0";
    case GgmlType::kQ4_K: return "GGUF Q4_K";
    case GgmlType::kQ5_K: return "GGUF Q5_K";
    case GgmlType::kQ6_K: return "GGUF Q6_K";
    default: return "GGUF";
  }
}

bool IsKQuant(GgmlType type) {
  return type == GgmlType::kQ4_K || type == GgmlType::kQ5_K || type == GgmlType::kQ6_K;
}

class GgufSource final : public WeightSource {
 public:
  GgufSource(const Checkpoint& checkpoint, const StoredTensor& tensor)
      : checkpoint_(checkpoint), tensor_(tensor), type_(InfoOf(*tensor.ggml_type)) {
    spec_ = {.code = CodeType::kInt,
             .bits = type_.code_bits,
             .scales = ScaleLayout::kGroup,
             .group_size = type_.group_elems,
             .has_min = type_.has_min,
             .n = tensor.rows(),
             .k = tensor.cols(),
             .scale_type = IsKQuant(type_.type) ? ScaleType::kF16TimesI8 : ScaleType::kF16,
             .super_group = IsKQuant(type_.type) ? type_.block_elems / type_.group_elems : 0};
    info_ = {.name = tensor.name,
             .scheme = SchemeName(type_.type),
             .activation = ActivationFormat::kInt8Group32,
             .stored_bytes = tensor.bytes,
             .dequantized = DType::kF32,
             .note = {}};
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    const uint64_t row_bytes = tensor_.RowBytes();
    std::vector<std::byte> blocks(static_cast<size_t>(count) * row_bytes);
    OCTAVO_RETURN_IF_ERROR(checkpoint_.ReadRowsBytes(tensor_, row_begin, count, blocks.data()));
    const int64_t groups = spec_.groups();
    for (int64_t row = 0; row < count; ++row) {
      UnpackRow(type_.type, blocks.data() + static_cast<size_t>(row) * row_bytes,
                static_cast<size_t>(spec_.k),
                reinterpret_cast<int8_t*>(rows.codes.data()) + row * spec_.k,
                rows.scales.data() + row * groups,
                spec_.has_min ? rows.mins.data() + row * groups : nullptr);
      ReadSuperScales(blocks.data() + static_cast<size_t>(row) * row_bytes, row, rows);
    }
    const auto offset = static_cast<uint8_t>(type_.code_offset);
    if (offset != 0) {
      for (uint8_t& code : rows.codes) code = static_cast<uint8_t>(code - offset);
    }
    OCTAVO_RETURN_IF_ERROR(CheckFinite(tensor_, row_begin, groups, rows.scales));
    return CheckFinite(tensor_, row_begin, groups, rows.mins);
  }

  Status DequantizeRows(int64_t row_begin, int64_t count, float* out) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    return checkpoint_.ReadRowsF32(tensor_, row_begin, count, out);
  }

 private:
  void ReadSuperScales(const std::byte* block, int64_t row, WeightRows& rows) const {
    for (int64_t i = 0; i < spec_.supers(); ++i, block += type_.block_bytes) {
      const KQuantScales scales = UnpackKQuantScales(type_.type, block);
      const auto at = static_cast<size_t>(row * spec_.supers() + i);
      rows.super_scales[at] = scales.d;
      if (spec_.has_min) rows.super_mins[at] = -scales.dmin;
    }
  }

  const Checkpoint& checkpoint_;
  const StoredTensor& tensor_;
  const GgmlTypeInfo& type_;
};

Result<std::unique_ptr<WeightSource>> Open(const StoredModule& module) {
  OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* tensor,
                          FindTensor(*module.checkpoint, module.name + ".weight"));
  if (!tensor->ggml_type) return kScheme_dense.open(module);
  if (tensor->shape.rank() != 2 || tensor->value_offset != 0) {
    return DataLoss(fmt::format("{}: tensor '{}': shape {}, want a matrix [out, in]",
                                tensor->file->path(), tensor->name, tensor->shape.ToString()));
  }
  return std::unique_ptr<WeightSource>(std::make_unique<GgufSource>(*module.checkpoint, *tensor));
}

}  // namespace

constinit const Scheme kScheme_gguf = {
    .name = "GGUF",
    .summary = "blocks of a GGUF file: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &Open,
};

}  // namespace octavo
