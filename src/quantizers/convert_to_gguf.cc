// SPDX-License-Identifier: Apache-2.0
// A checkpoint as one GGUF file of Q8_0 or Q4_0 blocks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "base/float16.h"
#include "io/ggml_quantize.h"
#include "io/gguf_export.h"
#include "io/gguf_model.h"
#include "io/gguf_writer.h"
#include "io/hf_config.h"
#include "quantizers/convert_job.h"
#include "tokenizer/gguf_export.h"

namespace octavo {
namespace {

constexpr int64_t kBlock = 32;

// A tensor of the file: one item, or the experts that are stacked in it.
struct OutTensor {
  GgufTensorSpec spec;
  std::vector<const ConvertItem*> parts;  // by expert
  int64_t interleaved_heads = 0;
  float add = 0;       // to every value: Gemma's norms
  bool moved = false;  // codes and scales are the source's
};

class GgufConverter {
 public:
  explicit GgufConverter(const ConvertJob& job)
      : job_(job),
        quantized_(std::any_of(job.items.begin(), job.items.end(),
                               [](const ConvertItem& item) { return item.source != nullptr; })),
        target_(job.options->to == "gguf-q8_0" ? GgmlType::kQ8_0 : GgmlType::kQ4_0) {}

  Status Run(ConvertResult& result) {
    OCTAVO_RETURN_IF_ERROR(CheckOutput());
    OCTAVO_ASSIGN_OR_RETURN(config_, NormalizeConfig(job_.checkpoint->config()));
    OCTAVO_ASSIGN_OR_RETURN(header_, AddGgufModelHeader(config_, metadata_));
    OCTAVO_RETURN_IF_ERROR(PlanTensors());
    OCTAVO_RETURN_IF_ERROR(AddMetadata());
    std::vector<GgufTensorSpec> specs;
    for (const OutTensor& tensor : tensors_) specs.push_back(tensor.spec);
    const auto half = static_cast<int64_t>(header_.rope_freqs.size());
    if (half > 0) specs.push_back({"rope_freqs.weight", GgmlType::kF32, Shape{half}});
    OCTAVO_ASSIGN_OR_RETURN(const auto writer,
                            GgufWriter::Create(job_.options->output, metadata_, specs));
    for (size_t i = 0; i < tensors_.size(); ++i) {
      OCTAVO_RETURN_IF_ERROR(WriteTensor(i, *writer));
      const bool blocks = InfoOf(tensors_[i].spec.type).code_bits > 0;
      (tensors_[i].moved ? result.moved : blocks ? result.rounded : result.copied) += 1;
    }
    if (half > 0) {
      OCTAVO_RETURN_IF_ERROR(
          writer->WriteAt(tensors_.size(), 0, std::as_bytes(std::span(header_.rope_freqs))));
    }
    result.output_bytes = writer->data_bytes();
    return writer->Finish();
  }

 private:
  Status CheckOutput() const {
    std::error_code error;
    const std::string& output = job_.options->output;
    if (std::filesystem::is_directory(output, error)) {
      return FailedPrecondition(fmt::format("{}: is a folder, want the name of a .gguf file", output));
    }
    if (!job_.options->overwrite && std::filesystem::exists(output, error)) {
      return FailedPrecondition(fmt::format("{}: exists; --overwrite replaces it", output));
    }
    return Status::Ok();
  }

  Status PlanTensors() {
    OCTAVO_ASSIGN_OR_RETURN(const bool tied, GetBoolOr(config_, "tie_word_embeddings", false));
    std::map<std::string, size_t> by_name;
    for (const ConvertItem& item : job_.items) {
      const std::string hf = item.source == nullptr ? item.name : item.name + ".weight";
      if (tied && hf == "lm_head.weight") continue;
      if (hf.ends_with("rotary_emb.inv_freq")) continue;  // a table that old files carry
      OCTAVO_ASSIGN_OR_RETURN(const GgufName name, GgufNameOf(header_.architecture, hf));
      const auto [at, is_new] = by_name.emplace(name.name, tensors_.size());
      if (is_new) {
        OCTAVO_ASSIGN_OR_RETURN(OutTensor tensor, Plan(item, name.name));
        tensors_.push_back(std::move(tensor));
      }
      OutTensor& tensor = tensors_[at->second];
      const size_t slot = name.expert < 0 ? 0 : static_cast<size_t>(name.expert);
      if (slot > 4096) return DataLoss(fmt::format("tensor '{}': expert {}", hf, slot));
      if (tensor.parts.size() <= slot) tensor.parts.resize(slot + 1);
      if (tensor.parts[slot] != nullptr) return DataLoss(fmt::format("two tensors map to '{}'", name.name));
      tensor.parts[slot] = &item;
    }
    return FinishStacks();
  }

  // Experts: [count, n, k], all of one kind.
  Status FinishStacks() {
    for (OutTensor& tensor : tensors_) {
      if (!tensor.spec.name.ends_with("_exps.weight")) continue;
      const Shape one = tensor.spec.shape;
      for (const ConvertItem* part : tensor.parts) {
        if (part == nullptr) return DataLoss(fmt::format("'{}': an expert is missing", tensor.spec.name));
        OCTAVO_ASSIGN_OR_RETURN(const OutTensor other, Plan(*part, tensor.spec.name));
        if (other.spec.shape != one || other.spec.type != tensor.spec.type || other.moved != tensor.moved) {
          return FailedPrecondition(fmt::format("{}: differs in shape or form from the other experts",
                                                part->name));
        }
      }
      tensor.spec.shape = Shape{static_cast<int64_t>(tensor.parts.size()), one[0], one[1]};
    }
    return Status::Ok();
  }

  Result<OutTensor> Plan(const ConvertItem& item, const std::string& name) const {
    OutTensor out;
    out.spec.name = name;
    if (item.source != nullptr) {
      OCTAVO_RETURN_IF_ERROR(CheckMovable(item));
      const WeightSpec& spec = item.source->spec();
      out.spec.type = target_;
      out.spec.shape = Shape{spec.n, spec.k};
      out.moved = true;
    } else {
      out.spec.shape = item.tensor->shape;
      OCTAVO_ASSIGN_OR_RETURN(out.spec.type, PlainType(*item.tensor, name));
    }
    if (name.find(".attn_q.") != std::string::npos) out.interleaved_heads = header_.interleaved_q_heads;
    if (name.find(".attn_k.") != std::string::npos) out.interleaved_heads = header_.interleaved_k_heads;
    const int64_t rows = out.spec.shape[0];
    if (out.interleaved_heads > 0 && rows % (2 * out.interleaved_heads) != 0) {
      return DataLoss(fmt::format("{}: {} rows do not divide into {} heads of even size", item.name, rows,
                                  out.interleaved_heads));
    }
    if (header_.norms_plus_one && item.name.ends_with("norm.weight")) out.add = 1;
    return out;
  }

  Status CheckMovable(const ConvertItem& item) const {
    const WeightSpec& spec = item.source->spec();
    const auto refuse = [&](const std::string& reason) {
      return FailedPrecondition(fmt::format("{}: {}", item.name, reason));
    };
    const std::string_view name = InfoOf(target_).name;
    if (spec.has_min) {
      return refuse(fmt::format("has zero points, and {} is symmetric", name));
    }
    const int bits = target_ == GgmlType::kQ8_0 ? 8 : 4;
    if (spec.bits > bits) return refuse(fmt::format("{}-bit codes do not fit {}", spec.bits, name));
    if (spec.k % kBlock != 0 || (spec.groups() > 1 && spec.group_size % kBlock != 0)) {
      return refuse(fmt::format("{} does not divide into blocks of {} columns", Describe(spec), kBlock));
    }
    return Status::Ok();
  }

  // Vectors and routers stay f32, as llama.cpp keeps them. Matrices of a 16-bit source are rounded; those
  // beside quantized ones keep their values.
  Result<GgmlType> PlainType(const StoredTensor& tensor, const std::string& name) const {
    const bool floats =
        tensor.dtype == DType::kBF16 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kF32;
    if (!floats || tensor.shape.rank() < 1 || tensor.shape.rank() > 2) {
      return Unimplemented(fmt::format("tensor '{}': {} {}, want a vector or matrix of floats", tensor.name,
                                       NameOf(tensor.dtype), tensor.shape.ToString()));
    }
    if (tensor.shape.rank() == 1 || name.find("ffn_gate_inp") != std::string::npos) return GgmlType::kF32;
    if (quantized_ || tensor.cols() % kBlock != 0) {
      if (tensor.dtype == DType::kBF16) return GgmlType::kBF16;
      return tensor.dtype == DType::kF16 ? GgmlType::kF16 : GgmlType::kF32;
    }
    // 4 bits hurt the embedding and the output most, and they are read once per token.
    const bool outer = name == "token_embd.weight" || name == "output.weight";
    return outer ? GgmlType::kQ8_0 : target_;
  }

  Status AddMetadata() {
    const Json* vocab = Find(config_, "vocab_size");
    const int64_t rows = vocab != nullptr && vocab->is_number_integer() ? vocab->get<int64_t>() : 0;
    OCTAVO_ASSIGN_OR_RETURN(const GgufVocabulary v, MakeGgufVocabulary(job_.checkpoint->path(), rows));
    const auto name = std::filesystem::weakly_canonical(job_.checkpoint->path()).filename().string();
    metadata_.String("general.name", name);
    metadata_.U32("general.file_type", target_ == GgmlType::kQ8_0 ? 7 : 2);
    metadata_.U32("general.quantization_version", 2);
    metadata_.String("tokenizer.ggml.model", v.model);
    metadata_.String("tokenizer.ggml.pre", v.pre);
    metadata_.Strings("tokenizer.ggml.tokens", v.tokens);
    metadata_.Ints("tokenizer.ggml.token_type", v.token_types);
    if (!v.scores.empty()) metadata_.Floats("tokenizer.ggml.scores", v.scores);
    if (!v.merges.empty()) metadata_.Strings("tokenizer.ggml.merges", v.merges);
    for (const auto& [key, id] : {std::pair("bos", v.bos_token_id), std::pair("eos", v.eos_token_id),
                                  std::pair("eot", v.eot_token_id), std::pair("unknown", v.unknown_token_id),
                                  std::pair("padding", v.padding_token_id)}) {
      if (id) metadata_.U32(fmt::format("tokenizer.ggml.{}_token_id", key), static_cast<uint32_t>(*id));
    }
    for (const auto& [key, flag] :
         {std::pair("add_bos_token", v.add_bos_token), std::pair("add_eos_token", v.add_eos_token),
          std::pair("add_space_prefix", v.add_space_prefix)}) {
      if (flag) metadata_.Bool(fmt::format("tokenizer.ggml.{}", key), *flag);
    }
    if (!v.chat_template.empty()) metadata_.String("tokenizer.chat_template", v.chat_template);
    return Status::Ok();
  }

  Status WriteTensor(size_t index, GgufWriter& writer) const {
    const OutTensor& tensor = tensors_[index];
    const uint64_t part_bytes = writer.TensorBytes(index) / tensor.parts.size();
    for (size_t part = 0; part < tensor.parts.size(); ++part) {
      const ConvertItem& item = *tensor.parts[part];
      const Shape& shape = tensor.spec.shape;
      const int64_t rows = shape.rank() == 1 ? shape[0] : shape[shape.rank() - 2];
      const int64_t cols = shape.rank() == 1 ? 1 : shape[shape.rank() - 1];
      const uint64_t row_bytes = part_bytes / static_cast<uint64_t>(rows);
      const uint64_t offset = part * part_bytes;
      OCTAVO_RETURN_IF_ERROR(
          ForRowBlocks(job_, rows, item.tensor->bytes, [&](int64_t row, int64_t count) -> Status {
            std::vector<std::byte> bytes(static_cast<size_t>(count) * row_bytes);
            OCTAVO_RETURN_IF_ERROR(item.source != nullptr
                                       ? MoveRows(item, row, count, bytes.data())
                                       : EncodeRows(tensor, item, row, count, cols, bytes.data()));
            return Place(tensor, {index, offset, row_bytes, rows}, row, count, bytes, writer);
          }));
    }
    return Status::Ok();
  }

  struct Region {
    size_t index;
    uint64_t offset;
    uint64_t row_bytes;
    int64_t rows;
  };

  // Hugging Face's row h * d + t * d / 2 + r is GGUF's h * d + 2 r + t in interleaved heads.
  Status Place(const OutTensor& tensor, const Region& region, int64_t row, int64_t count,
               std::span<const std::byte> bytes, GgufWriter& writer) const {
    const auto at = [&](int64_t to) { return region.offset + static_cast<uint64_t>(to) * region.row_bytes; };
    if (tensor.interleaved_heads == 0) return writer.WriteAt(region.index, at(row), bytes);
    const int64_t d = region.rows / tensor.interleaved_heads;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t in_head = (row + i) % d;
      const int64_t to = (row + i) - in_head + 2 * (in_head % (d / 2)) + in_head / (d / 2);
      OCTAVO_RETURN_IF_ERROR(writer.WriteAt(
          region.index, at(to), bytes.subspan(static_cast<size_t>(i) * region.row_bytes, region.row_bytes)));
    }
    return Status::Ok();
  }

  // Codes and scales as they are: a group of 128 becomes four blocks with one scale.
  Status MoveRows(const ConvertItem& item, int64_t row, int64_t count, std::byte* out) const {
    WeightRows rows;
    OCTAVO_RETURN_IF_ERROR(item.source->ReadRows(row, count, rows));
    const WeightSpec& spec = item.source->spec();
    const int64_t groups = spec.groups();
    const int64_t group_size = groups == 1 ? spec.k : spec.group_size;
    for (int64_t i = 0; i < count * spec.k; i += kBlock, out += InfoOf(target_).block_bytes) {
      const int64_t at = i / spec.k;
      const float scale = rows.scales[static_cast<size_t>(at * groups + i % spec.k / group_size)];
      const uint16_t d = F32ToF16(scale);
      if (F16ToF32(d) != scale) {
        return FailedPrecondition(fmt::format("{}: row {}: scale {} is no half float, which {} stores",
                                              item.name, row + at, scale, InfoOf(target_).name));
      }
      PackBlock(target_, d, reinterpret_cast<const int8_t*>(rows.codes.data()) + i, out);
    }
    return Status::Ok();
  }

  Status EncodeRows(const OutTensor& tensor, const ConvertItem& item, int64_t row, int64_t count,
                    int64_t cols, std::byte* out) const {
    const auto elements = static_cast<size_t>(count * cols);
    const GgmlType type = tensor.spec.type;
    if (type == GgmlType::kBF16 || type == GgmlType::kF16) {  // the stored bits
      return job_.checkpoint->ReadRowsBytes(*item.tensor, row, count, out);
    }
    std::vector<float> values(elements);
    OCTAVO_RETURN_IF_ERROR(job_.checkpoint->ReadRowsF32(*item.tensor, row, count, values.data()));
    for (size_t i = 0; i < elements; ++i) {
      if (!std::isfinite(values[i])) {
        return DataLoss(fmt::format("{}: row {} holds {}", item.name,
                                    row + static_cast<int64_t>(i) / cols, values[i]));
      }
      values[i] += tensor.add;
    }
    if (type == GgmlType::kF32) {
      std::memcpy(out, values.data(), elements * sizeof(float));
      return Status::Ok();
    }
    const auto row_bytes = *GgmlRowBytes(type, static_cast<uint64_t>(cols));
    for (int64_t i = 0; i < count; ++i, out += row_bytes) {
      QuantizeRow(type, values.data() + i * cols, static_cast<size_t>(cols), out);
    }
    return Status::Ok();
  }

  const ConvertJob& job_;
  const bool quantized_;
  const GgmlType target_;
  Json config_;
  GgufMetadataWriter metadata_;
  GgufModelHeader header_;
  std::vector<OutTensor> tensors_;
};

}  // namespace

Status ConvertToGguf(const ConvertJob& job, ConvertResult& result) {
  return GgufConverter(job).Run(result);
}

}  // namespace octavo
