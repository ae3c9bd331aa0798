// SPDX-License-Identifier: Apache-2.0
// Integer modules with one width and group size: GPTQ's, AWQ's and compressed-tensors' forms.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "quantizers/module_writer.h"
#include "schemes/compressed_form.h"
#include "schemes/int_rows.h"
#include "schemes/quantization_config.h"
#include "schemes/scheme.h"
#include "schemes/transposed_encoder.h"

namespace octavo {
namespace {

// What one quantization_config says of all modules.
struct CommonForm {
  int bits = 0;
  int group_size = 0;  // 0: one group per row
  bool symmetric = true;
};

// Every module has the same bits and group size; a row shorter than a group is one group.
Result<CommonForm> FindCommonForm(const ConvertJob& job) {
  CommonForm form;
  const ConvertItem* first = nullptr;
  for (const ConvertItem& item : job.items) {
    if (item.source == nullptr) continue;
    const WeightSpec& spec = item.source->spec();
    if (first == nullptr) first = &item;
    if (form.bits == 0) form.bits = spec.bits;
    form.symmetric &= !spec.has_min;
    if (spec.groups() > 1 && form.group_size == 0) form.group_size = spec.group_size;
    if (form.bits != spec.bits) {
      return FailedPrecondition(fmt::format("{} has {} bits and {} has {}: {} wants one width", first->name,
                                            form.bits, item.name, spec.bits, job.options->to));
    }
  }
  for (const ConvertItem& item : job.items) {
    if (item.source == nullptr || form.group_size == 0) continue;
    const WeightSpec& spec = item.source->spec();
    const bool fits = spec.groups() == 1 ? spec.k <= form.group_size : spec.group_size == form.group_size;
    if (fits) continue;
    return FailedPrecondition(fmt::format("{}: {}, other modules have groups of {}: {} wants one size",
                                          item.name, Describe(spec), form.group_size, job.options->to));
  }
  return form;
}

class TransposedWriter final : public ModuleWriter {
 public:
  TransposedWriter(const ConvertJob& job, const CommonForm& form) : ModuleWriter(job), form_(form) {
    kind_ = job.options->to == "awq" ? TransposedTarget::Form::kAwq
            : form.symmetric        ? TransposedTarget::Form::kGptq
                                    : TransposedTarget::Form::kGptqV2;
  }

  Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const override {
    return TransposedTensors(Target(item));
  }

  Status Write(const ConvertItem& item, SafetensorsWriter& writer) const override {
    const TransposedTarget target = Target(item);
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs, TransposedTensors(target));
    TransposedEncoder encoder(target);
    OCTAVO_RETURN_IF_ERROR(
        ForRowBlocks(job_, target.n, item.tensor->bytes, [&](int64_t row, int64_t count) -> Status {
          WeightRows scratch;
          IntRows rows;
          OCTAVO_RETURN_IF_ERROR(ReadIntRows(*item.source, row, count, scratch, rows));
          return encoder.AddRows(row, rows);
        }));
    return WriteWhole(specs, encoder.bytes(), writer);
  }

  Result<Json> Config(const std::vector<std::string>& dense) const override {
    const int group = form_.group_size == 0 ? -1 : form_.group_size;
    if (kind_ == TransposedTarget::Form::kAwq) {
      return Json{{"quant_method", "awq"}, {"bits", 4},         {"group_size", group},
                  {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", dense}};
    }
    Json config = {{"quant_method", "gptq"},
                   {"bits", form_.bits},
                   {"group_size", group},
                   {"desc_act", false},
                   {"sym", form_.symmetric},
                   {"lm_head", std::find(dense.begin(), dense.end(), "lm_head") == dense.end() &&
                                   job_.checkpoint->Find("lm_head.weight") == nullptr &&
                                   HasItem("lm_head")},
                   {"checkpoint_format", kind_ == TransposedTarget::Form::kGptq ? "gptq" : "gptq_v2"}};
    for (const std::string& module : dense) {  // readers expect every other linear to be quantized
      if (module == "lm_head") continue;
      std::string pattern = "-:^";
      for (const char c : module) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
      config["dynamic"][pattern + "$"] = Json::object();
    }
    return config;
  }

 private:
  bool HasItem(std::string_view module) const {
    return std::any_of(job_.items.begin(), job_.items.end(), [module](const ConvertItem& item) {
      return item.source != nullptr && item.name == module;
    });
  }
  TransposedTarget Target(const ConvertItem& item) const {
    const WeightSpec& spec = item.source->spec();
    return {.form = kind_,
            .module = item.name,
            .n = spec.n,
            .k = spec.k,
            .bits = spec.bits,
            .group_size = spec.groups() == 1 ? spec.k : spec.group_size};
  }

  const CommonForm form_;
  TransposedTarget::Form kind_;
};

class CompressedWriter final : public ModuleWriter {
 public:
  CompressedWriter(const ConvertJob& job, const CommonForm& form) : ModuleWriter(job), form_(form) {}

  Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const override {
    return CompressedTensors(TargetOf(item, Args()));
  }

  Status Write(const ConvertItem& item, SafetensorsWriter& writer) const override {
    const TargetModule target = TargetOf(item, Args());
    const auto encode = [&](int64_t row, int64_t count, std::vector<TensorPiece>& pieces) -> Status {
      WeightRows scratch;
      IntRows rows;
      OCTAVO_RETURN_IF_ERROR(ReadIntRows(*item.source, row, count, scratch, rows));
      EncodeCompressed(target, Signed(rows), row, pieces);
      return Status::Ok();
    };
    return WritePieces(item, CompressedTensors(target), encode, writer);
  }

  Result<Json> Config(const std::vector<std::string>& dense) const override {
    const SchemeArgs args = Args();
    OCTAVO_ASSIGN_OR_RETURN(const Scheme* scheme, MatchScheme(args));
    Json config = MakeQuantizationConfig(*scheme, args, dense);
    config["quant_method"] = "compressed-tensors";  // also for widths without a preset
    config["format"] = "pack-quantized";
    return config;
  }

 private:
  SchemeArgs Args() const {
    return {.weights = {.num_bits = form_.bits,
                        .symmetric = form_.symmetric,
                        .strategy = form_.group_size == 0 ? Strategy::kChannel : Strategy::kGroup,
                        .group_size = form_.group_size},
            .input = {}};
  }
  // compressed-tensors counts from -2^(bits - 1).
  QuantizedRows Signed(IntRows& rows) const {
    const int middle = 1 << (form_.bits - 1);
    QuantizedRows quantized;
    quantized.count = rows.count;
    quantized.codes = std::move(rows.codes);
    quantized.scales = std::move(rows.scales);
    for (uint8_t& code : quantized.codes) code = static_cast<uint8_t>(code - middle);
    for (const uint8_t zero : rows.zeros) {
      quantized.zero_points.push_back(static_cast<int8_t>(zero - middle));
    }
    return quantized;
  }

  const CommonForm form_;
};

}  // namespace

Result<std::unique_ptr<ModuleWriter>> MakeIntegerWriter(const ConvertJob& job) {
  OCTAVO_ASSIGN_OR_RETURN(const CommonForm form, FindCommonForm(job));
  if (job.options->to == "compressed-tensors") {
    return std::unique_ptr<ModuleWriter>(std::make_unique<CompressedWriter>(job, form));
  }
  return std::unique_ptr<ModuleWriter>(std::make_unique<TransposedWriter>(job, form));
}

}  // namespace octavo
