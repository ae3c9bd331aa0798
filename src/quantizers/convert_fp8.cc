// SPDX-License-Identifier: Apache-2.0
// FP8 matrices as `quant_method: fp8` has them: AutoFP8's with one scale per tensor, or blocks.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "quantizers/module_writer.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

// What one quantization_config says of all modules. Errors: FailedPrecondition, naming the module.
Status CheckArgs(const std::string& module, const ModuleScheme& form) {
  const QuantArgs& weights = form.args.weights;
  const std::string what = fmt::format("{}: {} weights", module, form.scheme->name);
  if (weights.type != QuantType::kFloat || weights.num_bits != 8) {
    return FailedPrecondition(what + " are no FP8, and fp8 stores nothing else");
  }
  if (weights.strategy != Strategy::kTensor && weights.strategy != Strategy::kBlock) {
    return FailedPrecondition(what + " have one scale per row, and fp8 stores one per tensor or block; "
                                     "quantizing in FP8 or FP8_BLOCK makes these");
  }
  if (!form.args.input) {
    return FailedPrecondition(what + " run with 16-bit activations, which fp8 cannot say");
  }
  return Status::Ok();
}

class Fp8Writer final : public ModuleWriter {
 public:
  Fp8Writer(const ConvertJob& job, std::string first, SchemeArgs args)
      : ModuleWriter(job), first_(std::move(first)), args_(std::move(args)) {}

  Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const override {
    OCTAVO_ASSIGN_OR_RETURN(const ModuleScheme form, job_.loader->config().Resolve(item.name));
    OCTAVO_RETURN_IF_ERROR(CheckArgs(item.name, form));
    if (!(form.args == args_)) {
      return FailedPrecondition(fmt::format("{} and {} are stored differently: fp8 wants one form",
                                            first_, item.name));
    }
    OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* scales, FindScale(item.name + ".weight_scale"));
    std::vector<TensorSpec> specs = {{item.tensor->name, DType::kF8E4M3, item.tensor->shape}};
    if (blocks()) {
      specs.push_back({item.name + ".weight_scale_inv", DType::kF32, scales->shape});
    } else {
      specs.push_back({scales->name, DType::kF32, Shape{}});
    }
    if (!args_.static_input()) return specs;
    OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* input, FindScale(item.name + ".input_scale"));
    specs.push_back({input->name, DType::kF32, Shape{}});
    return specs;
  }

  // Codes move as they are; scales are exact in f32.
  Status Write(const ConvertItem& item, SafetensorsWriter& writer) const override {
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<TensorSpec> specs, Tensors(item));
    const StoredTensor& codes = *item.tensor;
    const auto row_bytes = static_cast<uint64_t>(codes.cols());
    OCTAVO_RETURN_IF_ERROR(
        ForRowBlocks(job_, codes.rows(), codes.bytes, [&](int64_t row, int64_t count) -> Status {
          std::vector<std::byte> bytes(static_cast<size_t>(count) * row_bytes);
          OCTAVO_RETURN_IF_ERROR(job_.checkpoint->ReadRowsBytes(codes, row, count, bytes.data()));
          return writer.WriteAt(codes.name, static_cast<uint64_t>(row) * row_bytes, bytes);
        }));
    OCTAVO_RETURN_IF_ERROR(writer.MarkComplete(codes.name));
    OCTAVO_RETURN_IF_ERROR(WriteScales(item.name + ".weight_scale", specs[1], writer));
    if (specs.size() == 2) return Status::Ok();
    return WriteScales(specs[2].name, specs[2], writer);
  }

  Result<Json> Config(const std::vector<std::string>& dense) const override {
    Json config = {{"quant_method", "fp8"},
                   {"activation_scheme", args_.static_input() ? "static" : "dynamic"}};
    if (blocks()) {
      config["weight_block_size"] = {args_.weights.block_rows, args_.weights.block_cols};
      config["modules_to_not_convert"] = dense;  // transformers' name, which vLLM reads too
    } else {
      config["ignored_layers"] = dense;
    }
    if (job_.loader->config().kv_cache()) config["kv_cache_scheme"] = "static";
    return config;
  }

 private:
  bool blocks() const { return args_.weights.strategy == Strategy::kBlock; }

  Result<const StoredTensor*> FindScale(const std::string& name) const {
    const StoredTensor* tensor = job_.checkpoint->Find(name);
    if (tensor != nullptr) return tensor;
    return FailedPrecondition(fmt::format("{}: has no {}", job_.checkpoint->path(), name));
  }

  Status WriteScales(const std::string& from, const TensorSpec& to, SafetensorsWriter& writer) const {
    OCTAVO_ASSIGN_OR_RETURN(const StoredTensor* source, FindScale(from));
    std::vector<float> scales(static_cast<size_t>(source->shape.NumElements()));
    OCTAVO_RETURN_IF_ERROR(job_.checkpoint->ReadRowsF32(*source, 0, source->rows(), scales.data()));
    return writer.WriteTensor(to.name, std::as_bytes(std::span(scales)));
  }

  const std::string first_;  // module that the others must be like
  const SchemeArgs args_;
};

}  // namespace

Result<std::unique_ptr<ModuleWriter>> MakeFp8Writer(const ConvertJob& job) {
  for (const ConvertItem& item : job.items) {
    if (item.source == nullptr) continue;
    OCTAVO_ASSIGN_OR_RETURN(ModuleScheme form, job.loader->config().Resolve(item.name));
    return std::unique_ptr<ModuleWriter>(
        std::make_unique<Fp8Writer>(job, item.name, std::move(form.args)));
  }
  return FailedPrecondition(job.checkpoint->path() + ": holds no quantized matrix");
}

}  // namespace octavo
