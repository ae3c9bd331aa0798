// SPDX-License-Identifier: Apache-2.0
// W4A8 and W8A8 modules into omniserve's tensors and back.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "quantizers/module_writer.h"
#include "schemes/omniserve_encoder.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

using Form = OmniserveTarget::Form;

// What both sides call a module's numbers; nullopt: neither stores such weights.
std::optional<Form> FormOf(const WeightSource& source) {
  const WeightSpec& spec = source.spec();
  if (source.info().activation != ActivationFormat::kInt8 || source.info().input_scale != 0 ||
      source.info().outlier_threshold != 0 || spec.code != CodeType::kInt) {
    return std::nullopt;
  }
  if (spec.scales == ScaleLayout::kTwoLevel) return Form::kGroups;
  if (spec.groups() != 1) return std::nullopt;
  if (spec.bits == 4 && spec.has_min) return Form::kChannels;
  if (spec.bits == 8 && !spec.has_min) return Form::kInt8;
  return std::nullopt;
}

Result<Form> RequireForm(const ConvertItem& item, const std::string& to) {
  if (const std::optional<Form> form = FormOf(*item.source)) return *form;
  return FailedPrecondition(fmt::format(
      "{}: {} weights ({}, {} activations); {} stores those of the schemes QOQ_G128, QOQ and W8A8", item.name,
      item.source->info().scheme, Describe(item.source->spec()), NameOf(item.source->info().activation), to));
}

// Rows with whole zero points: those of rows that have minima are put into zeros2 [count].
Status ReadZeroRows(const WeightSource& source, Form form, int64_t row, int64_t count, WeightRows& rows) {
  if (form != Form::kChannels) return source.ReadRows(row, count, rows);
  IntRows whole;
  OCTAVO_RETURN_IF_ERROR(ReadIntRows(source, row, count, rows, whole));
  rows.zeros2 = std::move(whole.zeros);
  return Status::Ok();
}

class OmniserveWriter final : public ModuleWriter {
 public:
  using ModuleWriter::ModuleWriter;

  Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const override {
    OCTAVO_ASSIGN_OR_RETURN(const OmniserveTarget target, Target(item));
    return OmniserveTensors(target);
  }

  Status Write(const ConvertItem& item, SafetensorsWriter& writer) const override {
    OCTAVO_ASSIGN_OR_RETURN(const OmniserveTarget target, Target(item));
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs, OmniserveTensors(target));
    OmniserveEncoder encoder(target);
    OCTAVO_RETURN_IF_ERROR(
        ForRowBlocks(job_, target.n, item.tensor->bytes, [&](int64_t row, int64_t count) -> Status {
          WeightRows rows;
          OCTAVO_RETURN_IF_ERROR(ReadZeroRows(*item.source, target.form, row, count, rows));
          return encoder.AddRows(row, rows);
        }));
    return WriteWhole(specs, encoder.bytes(), writer);
  }

  Result<Json> Config(const std::vector<std::string>& /*dense*/) const override { return Json(); }

 private:
  Result<OmniserveTarget> Target(const ConvertItem& item) const {
    OCTAVO_ASSIGN_OR_RETURN(const Form form, RequireForm(item, job_.options->to));
    const WeightSpec& spec = item.source->spec();
    return OmniserveTarget{
        .form = form, .module = item.name, .n = spec.n, .k = spec.k, .group_size = spec.group_size};
  }
};

class QoqWriter final : public ModuleWriter {
 public:
  QoqWriter(const ConvertJob& job, Form form, int64_t group_size) : ModuleWriter(job), form_(form) {
    scheme_ = FindScheme(form == Form::kGroups ? "QOQ_G128" : form == Form::kChannels ? "QOQ" : "W8A8");
    args_ = scheme_->args;
    if (form == Form::kGroups) args_.weights.group_size = static_cast<int>(group_size);
  }

  Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const override {
    OCTAVO_ASSIGN_OR_RETURN(const Form form, RequireForm(item, job_.options->to));
    const bool same_groups = form != Form::kGroups || item.source->spec().group_size == args_.weights.group_size;
    if (form == form_ && same_groups) return scheme_->tensors(TargetOf(item, args_));
    return FailedPrecondition(fmt::format("{}: {}, other modules are {}: {} wants one kind", item.name,
                                          Describe(item.source->spec()), Describe(args_), job_.options->to));
  }

  Status Write(const ConvertItem& item, SafetensorsWriter& writer) const override {
    const TargetModule target = TargetOf(item, args_);
    const auto encode = [&](int64_t row, int64_t count, std::vector<TensorPiece>& pieces) -> Status {
      WeightRows rows;
      OCTAVO_RETURN_IF_ERROR(ReadZeroRows(*item.source, form_, row, count, rows));
      scheme_->encode(target, Quantized(rows), row, pieces);
      return Status::Ok();
    };
    return WritePieces(item, scheme_->tensors(target), encode, writer);
  }

  Result<Json> Config(const std::vector<std::string>& dense) const override {
    return MakeQuantizationConfig(*scheme_, args_, dense);
  }

 private:
  // compressed-tensors counts from -8.
  QuantizedRows Quantized(WeightRows& rows) const {
    QuantizedRows quantized;
    quantized.count = rows.count;
    quantized.codes.swap(rows.codes);
    quantized.scales.swap(rows.scales);
    if (form_ == Form::kGroups) {
      quantized.scales2.swap(rows.scales2);
      quantized.zeros2.swap(rows.zeros2);
    } else if (form_ == Form::kChannels) {
      for (uint8_t& code : quantized.codes) code = static_cast<uint8_t>(code - 8);
      for (const uint8_t zero : rows.zeros2) quantized.zero_points.push_back(static_cast<int8_t>(zero - 8));
    }
    return quantized;
  }

  const Form form_;
  const Scheme* scheme_;
  SchemeArgs args_;
};

// omniserve skips tensors whose name has "norm" in it and runs with gains of 1.
Status CheckNorms(const ConvertJob& job) {
  for (const ConvertItem& item : job.items) {
    if (item.source != nullptr || item.name.find("norm") == std::string::npos) continue;
    std::vector<float> values(static_cast<size_t>(item.tensor->shape.NumElements()));
    OCTAVO_RETURN_IF_ERROR(job.checkpoint->ReadRowsF32(*item.tensor, 0, item.tensor->rows(), values.data()));
    const float want = item.name.ends_with(".weight") ? 1.0f : 0.0f;
    const auto other = std::find_if(values.begin(), values.end(), [want](float v) { return v != want; });
    if (other == values.end()) continue;
    return FailedPrecondition(fmt::format(
        "{}: tensor '{}' element {} is {}, want {}: omniserve does not read norms. `octavo quantize --algorithm qoq` "
        "with its transform 'rotate' moves the gains into the weights",
        job.checkpoint->path(), item.name, other - values.begin(), *other, want));
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<ModuleWriter>> MakeOmniserveWriter(const ConvertJob& job) {
  OCTAVO_RETURN_IF_ERROR(CheckNorms(job));
  if (job.checkpoint->Find("lm_head.weight") == nullptr) {
    return FailedPrecondition(fmt::format("{}: no tensor 'lm_head.weight': omniserve knows no tied embeddings",
                                          job.checkpoint->path()));
  }
  return std::unique_ptr<ModuleWriter>(std::make_unique<OmniserveWriter>(job));
}

Result<std::unique_ptr<ModuleWriter>> MakeQoqWriter(const ConvertJob& job) {
  if (job.loader->config().method() != "omniserve") {
    return FailedPrecondition(fmt::format("{}: --to qoq takes folders in omniserve's form", job.checkpoint->path()));
  }
  for (const ConvertItem& item : job.items) {
    if (item.source == nullptr) continue;
    OCTAVO_ASSIGN_OR_RETURN(const Form form, RequireForm(item, job.options->to));
    return std::unique_ptr<ModuleWriter>(std::make_unique<QoqWriter>(job, form, item.source->spec().group_size));
  }
  return FailedPrecondition(fmt::format("{}: no quantized module", job.checkpoint->path()));
}

}  // namespace octavo
