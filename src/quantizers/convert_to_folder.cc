// SPDX-License-Identifier: Apache-2.0
// Quantized matrices in a Hugging Face folder; those of GPTQ, AWQ and compressed-tensors are written here.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/file.h"
#include "io/safetensors_writer.h"
#include "io/shard_index.h"
#include "quantizers/carry_over.h"
#include "quantizers/convert_job.h"
#include "quantizers/module_writer.h"
#include "quantizers/output_folder.h"
#include "schemes/compressed_form.h"
#include "schemes/quantization_config.h"
#include "schemes/scheme.h"
#include "schemes/transposed_encoder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

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

Status CopyTensor(const ConvertJob& job, const StoredTensor& tensor, SafetensorsWriter& writer) {
  constexpr uint64_t kBlockBytes = uint64_t{16} << 20;
  std::vector<std::byte> block;
  for (uint64_t at = 0; at < tensor.bytes; at += block.size()) {
    block.resize(std::min(kBlockBytes, tensor.bytes - at));
    OCTAVO_RETURN_IF_ERROR(tensor.file->ReadRange(tensor.offset + at, block.size(), block.data()));
    OCTAVO_RETURN_IF_ERROR(writer.WriteAt(tensor.name, at, block));
    OCTAVO_RETURN_IF_ERROR(job.advance(block.size()));
  }
  return writer.MarkComplete(tensor.name);
}

// The items of one source file become one file of the same name.
using Shards = std::map<std::string, std::vector<const ConvertItem*>>;

struct ShardResult {
  std::vector<std::pair<std::string, std::string>> weight_map;
  uint64_t bytes = 0;
};

Status WriteShard(const ConvertJob& job, const ModuleWriter& modules, const OutputFolder& folder,
                  const Shards::value_type& shard, ShardResult& result) {
  std::vector<TensorSpec> specs;
  for (const ConvertItem* item : shard.second) {
    if (item->source == nullptr) {
      specs.push_back({item->tensor->name, item->tensor->dtype, item->tensor->shape});
      continue;
    }
    OCTAVO_ASSIGN_OR_RETURN(const std::vector<TensorSpec> tensors, modules.Tensors(*item));
    specs.insert(specs.end(), tensors.begin(), tensors.end());
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto writer,
                          SafetensorsWriter::Create(folder.FilePath(shard.first), specs, {}));
  for (const ConvertItem* item : shard.second) {
    OCTAVO_RETURN_IF_ERROR(item->source == nullptr ? CopyTensor(job, *item->tensor, *writer)
                                                   : modules.Write(*item, *writer));
  }
  for (const TensorSpec& spec : specs) result.weight_map.emplace_back(spec.name, shard.first);
  result.bytes += writer->data_bytes();
  return writer->Finish();
}

Status WriteFolder(const ConvertJob& job, const ModuleWriter& modules, const OutputFolder& folder,
                   ConvertResult& counts) {
  Shards shards;
  for (const ConvertItem& item : job.items) {
    shards[fs::path(item.tensor->file->path()).filename().string()].push_back(&item);
    (item.source == nullptr ? counts.copied : counts.moved) += 1;
  }
  ShardResult written;
  for (const auto& shard : shards) {
    OCTAVO_RETURN_IF_ERROR(WriteShard(job, modules, folder, shard, written));
  }
  counts.output_bytes = written.bytes;
  if (shards.size() > 1) {
    OCTAVO_RETURN_IF_ERROR(
        WriteFileAtomically(folder.FilePath(std::string(kShardIndexName)),
                            MakeShardIndexJson(written.weight_map, written.bytes)));
  }
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(*job.checkpoint, folder.working_path()));
  std::vector<std::string> dense = LinearModules(*job.checkpoint);
  for (std::string& router : RouterModules(*job.checkpoint)) dense.push_back(std::move(router));
  OCTAVO_ASSIGN_OR_RETURN(const Json quantization, modules.Config(dense));
  OCTAVO_ASSIGN_OR_RETURN(const Json config, MakeQuantizedConfig(*job.checkpoint, quantization));
  return WriteFileAtomically(folder.FilePath("config.json"), DumpJson(config, 2) + "\n");
}

Result<std::unique_ptr<ModuleWriter>> MakeWriter(const ConvertJob& job) {
  if (job.options->to == "fp8") return MakeFp8Writer(job);
  if (job.options->to == "omniserve") return MakeOmniserveWriter(job);
  if (job.options->to == "qoq") return MakeQoqWriter(job);
  OCTAVO_ASSIGN_OR_RETURN(const CommonForm form, FindCommonForm(job));
  if (job.options->to == "compressed-tensors") {
    return std::unique_ptr<ModuleWriter>(std::make_unique<CompressedWriter>(job, form));
  }
  return std::unique_ptr<ModuleWriter>(std::make_unique<TransposedWriter>(job, form));
}

}  // namespace

Status ModuleWriter::WritePieces(const ConvertItem& item, const std::vector<TensorSpec>& specs,
                                 const EncodeRows& encode, SafetensorsWriter& writer) const {
  OCTAVO_RETURN_IF_ERROR(ForRowBlocks(
      job_, item.source->spec().n, item.tensor->bytes, [&](int64_t row, int64_t count) -> Status {
        std::vector<TensorPiece> pieces;
        OCTAVO_RETURN_IF_ERROR(encode(row, count, pieces));
        for (size_t i = 0; i < pieces.size(); ++i) {
          OCTAVO_RETURN_IF_ERROR(writer.WriteAt(specs[i].name, pieces[i].offset, pieces[i].bytes));
        }
        return Status::Ok();
      }));
  for (const TensorSpec& spec : specs) OCTAVO_RETURN_IF_ERROR(writer.MarkComplete(spec.name));
  return Status::Ok();
}

Status ModuleWriter::WriteWhole(const std::vector<TensorSpec>& specs,
                                const std::vector<std::span<const std::byte>>& bytes,
                                SafetensorsWriter& writer) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(writer.WriteTensor(specs[i].name, bytes[i]));
  }
  return Status::Ok();
}

Status ConvertToFolder(const ConvertJob& job, ConvertResult& result) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<ModuleWriter> modules, MakeWriter(job));
  for (const ConvertItem& item : job.items) {  // refusals come before the first byte
    if (item.source != nullptr) OCTAVO_RETURN_IF_ERROR(modules->Tensors(item).status());
  }
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(job.options->output,
                                               {.resume = false,
                                                .overwrite = job.options->overwrite,
                                                .fingerprint = "convert " + job.options->to}));
  OCTAVO_RETURN_IF_ERROR(WriteFolder(job, *modules, folder, result));
  return folder.Publish();
}

}  // namespace octavo
