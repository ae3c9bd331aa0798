// SPDX-License-Identifier: Apache-2.0
// Decides per tensor what is folded into it, then streams rows (or whole matrices whose outputs turn).
#include "quantizers/rotate_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "io/hf_config.h"
#include "io/safetensors_writer.h"
#include "io/shard_index.h"
#include "models/model.h"
#include "quantizers/encode_floats.h"
#include "quantizers/hadamard.h"
#include "quantizers/layer_transform.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRows = 256;                          // per step of a thread
constexpr int64_t kColumns = 16;                        // gathered together
constexpr uint64_t kShardBytes = 5'000'000'000;         // of a GGUF's copy
constexpr const char* kHead = "lm_head";
constexpr const char* kEmbedding = "embed_tokens";
constexpr const char* kFinalNorm = "norm";

// What becomes of one tensor.
struct Edit {
  const StoredTensor* source = nullptr;
  std::string name;                    // as written
  bool ones = false;                   // a norm whose gain moved
  const std::vector<float>* gain = nullptr;  // w[:, j] *= gain[j], before anything turns
  const Rotation* input = nullptr;     // of every block of its size along a row
  const Rotation* output = nullptr;    // of every block of its size along a column
  TensorSpec spec;

  bool changes() const { return ones || gain != nullptr || input != nullptr || output != nullptr; }
};

bool Contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Rotator {
 public:
  Rotator(const Checkpoint& checkpoint, const RotateOptions& options)
      : checkpoint_(checkpoint), options_(options) {}

  Status Prepare() {
    OCTAVO_ASSIGN_OR_RETURN(const Json json, NormalizeConfig(checkpoint_.config()));
    OCTAVO_ASSIGN_OR_RETURN(arch_, FindArch(json));
    OCTAVO_ASSIGN_OR_RETURN(config_, arch_->parse_config(json));
    if (arch_->residual_writers.empty()) {
      return Unimplemented(fmt::format(
          "{}: architecture {} cannot be rotated: it wants RMSNorm before every block and no learned "
          "positions (leave out the transforms rotate and rotate-values)",
          checkpoint_.path(), arch_->name));
    }
    if (options_.residual) residual_.emplace(config_.hidden_size);
    if (options_.values) values_.emplace(config_.head_dim, /*with_signs=*/false);
    return Status::Ok();
  }

  RotateResult result() const {
    return {.residual = residual_ ? residual_->Describe() : "",
            .values = values_ ? values_->Describe() : ""};
  }

  Status Run(const std::string& folder, ThreadPool& pool) {
    OCTAVO_RETURN_IF_ERROR(ReadGains());
    OCTAVO_RETURN_IF_ERROR(PlanEdits());
    std::vector<std::pair<std::string, std::string>> weight_map;
    uint64_t bytes = 0;
    for (size_t i = 0; i < shards_.size(); ++i) {
      const std::string name = ShardName(i);
      std::vector<TensorSpec> specs;
      for (const Edit& edit : shards_[i]) {
        specs.push_back(edit.spec);
        weight_map.emplace_back(edit.name, name);
        bytes += BytesOf(edit.spec.dtype, static_cast<uint64_t>(edit.spec.shape.NumElements()))
                     .value_or(0);
      }
      OCTAVO_ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(folder + "/" + name, specs, {}));
      for (const Edit& edit : shards_[i]) {
        OCTAVO_RETURN_IF_ERROR(Write(edit, *writer, pool));
        OCTAVO_RETURN_IF_ERROR(writer->MarkComplete(edit.name));
        done_ += edit.source->bytes;
        if (options_.progress) options_.progress(done_, total_);
      }
      OCTAVO_RETURN_IF_ERROR(writer->Finish());
    }
    if (shards_.size() > 1) {
      OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder + "/" + std::string(kShardIndexName),
                                                 MakeShardIndexJson(weight_map, bytes)));
    }
    Json config = checkpoint_.config();
    if (residual_) config["tie_word_embeddings"] = false;
    return WriteFileAtomically(folder + "/config.json", DumpJson(config, 2) + "\n");
  }

 private:
  // The gains of all norms that feed linears only.
  Status ReadGains() {
    if (!residual_) return Status::Ok();
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      const WeightPattern* row = arch_->Match(tensor.name);
      if (row == nullptr || (row->slot != kFinalNorm && SiteOfNorm(row->slot) == nullptr)) continue;
      OCTAVO_ASSIGN_OR_RETURN(gains_[tensor.name], ReadOriginal(checkpoint_, tensor.name));
      if (static_cast<int64_t>(gains_[tensor.name].size()) == config_.hidden_size) continue;
      return DataLoss(fmt::format("{}: tensor '{}': shape {}, want [{}]", checkpoint_.path(),
                                  tensor.name, tensor.shape.ToString(), config_.hidden_size));
    }
    return Status::Ok();
  }

  const SmoothingSite* SiteOfNorm(std::string_view slot) const {
    for (const SmoothingSite& site : arch_->smoothing) {
      if (site.producer == slot && slot.ends_with("norm")) return &site;
    }
    return nullptr;
  }

  // The gain of the norm that a linear of this layer reads; null when it reads none.
  const std::vector<float>* GainFor(const TensorPlace& place) const {
    for (const auto& [name, gain] : gains_) {
      const std::optional<TensorPlace> norm = arch_->Locate(name);
      if (place.row->slot == kHead && norm->row->slot == kFinalNorm) return &gain;
      if (norm->layer != place.layer) continue;
      const SmoothingSite* site = SiteOfNorm(norm->row->slot);
      if (site != nullptr && Contains(site->consumers, place.row->slot)) return &gain;
    }
    return nullptr;
  }

  Edit EditOf(const StoredTensor& tensor) const {
    Edit edit{.source = &tensor, .name = tensor.name, .spec = {}};
    const std::optional<TensorPlace> place = arch_->Locate(tensor.name);
    if (place) {
      const std::string_view slot = place->row->slot;
      const bool bias = tensor.name.ends_with(".bias");
      if (residual_) {
        edit.ones = gains_.contains(tensor.name);
        edit.gain = bias ? nullptr : GainFor(*place);
        if (edit.gain != nullptr || slot == kEmbedding) edit.input = &*residual_;
        if (Contains(arch_->residual_writers, slot)) edit.output = &*residual_;
      }
      if (values_ && slot == "v_proj") edit.output = &*values_;
      if (values_ && slot == "o_proj" && !bias) edit.input = &*values_;
    }
    edit.spec = SpecOf(edit);
    return edit;
  }

  TensorSpec SpecOf(const Edit& edit) const {
    DType type = WrittenType(checkpoint_, *edit.source);
    if (options_.dtype && edit.changes()) type = *options_.dtype;
    return {edit.name, type, edit.source->shape};
  }

  // Errors: a rotation that does not divide what it turns.
  Status Check(const Edit& edit) const {
    const StoredTensor& tensor = *edit.source;
    const bool input = edit.input != nullptr && tensor.cols() % edit.input->size() != 0;
    const bool output = edit.output != nullptr && tensor.rows() % edit.output->size() != 0;
    const bool gain = edit.gain != nullptr && tensor.cols() != config_.hidden_size;
    if (!input && !output && !gain) return Status::Ok();
    return DataLoss(fmt::format("{}: tensor '{}': shape {} does not fit hidden_size {} and head_dim {}",
                                checkpoint_.path(), tensor.name, tensor.shape.ToString(),
                                config_.hidden_size, config_.head_dim));
  }

  Status PlanEdits() {
    const MmapFile* file = nullptr;
    uint64_t shard_bytes = 0;
    const bool tied = residual_ && checkpoint_.Find(std::string(kHead) + ".weight") == nullptr;
    for (const StoredTensor& tensor : checkpoint_.tensors()) {
      total_ += tensor.bytes;
      const bool full = checkpoint_.is_gguf() ? shard_bytes > kShardBytes : tensor.file != file;
      if (shards_.empty() || full) {
        shards_.emplace_back();
        shard_bytes = 0;
        file = tensor.file;
      }
      Edit edit = EditOf(tensor);
      OCTAVO_RETURN_IF_ERROR(Check(edit));
      shard_bytes += static_cast<uint64_t>(tensor.shape.NumElements()) * 2;
      const bool embedding = edit.input != nullptr && edit.input == (residual_ ? &*residual_ : nullptr) &&
                             arch_->Match(tensor.name)->slot == kEmbedding;
      if (tied && embedding) {
        Edit head = edit;
        total_ += tensor.bytes;
        head.name = std::string(kHead) + ".weight";
        head.gain = GainFor({.row = arch_->Match(head.name), .layer = {}, .expert = {}});
        head.spec = SpecOf(head);
        shards_.back().push_back(std::move(head));
      }
      shards_.back().push_back(std::move(edit));
    }
    return Status::Ok();
  }

  std::string ShardName(size_t index) const {
    if (checkpoint_.is_gguf()) return ShardFileName(index, shards_.size());
    return fs::path(shards_[index].front().source->file->path()).filename().string();
  }

  Status Write(const Edit& edit, SafetensorsWriter& writer, ThreadPool& pool) const {
    if (!edit.changes() && !checkpoint_.is_gguf()) return Copy(edit, writer);
    if (edit.output != nullptr) return WriteWhole(edit, writer, pool);
    return ForBlocks(edit.source->rows(), kRows, pool, [&](int64_t begin, int64_t count) {
      std::vector<float> rows(static_cast<size_t>(count * edit.source->cols()));
      OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, *edit.source, begin, count, rows.data()));
      TurnRows(edit, count, rows.data());
      return WriteRows(edit, begin, rows, writer);
    });
  }

  Status Copy(const Edit& edit, SafetensorsWriter& writer) const {
    constexpr uint64_t kPiece = uint64_t{4} << 20;
    std::vector<std::byte> bytes;
    for (uint64_t begin = 0; begin < edit.source->bytes; begin += kPiece) {
      bytes.resize(static_cast<size_t>(std::min(kPiece, edit.source->bytes - begin)));
      OCTAVO_RETURN_IF_ERROR(
          edit.source->file->ReadRange(edit.source->offset + begin, bytes.size(), bytes.data()));
      OCTAVO_RETURN_IF_ERROR(writer.WriteAt(edit.name, begin, bytes));
    }
    return Status::Ok();
  }

  // Matrices whose outputs turn: every column needs all rows.
  Status WriteWhole(const Edit& edit, SafetensorsWriter& writer, ThreadPool& pool) const {
    const int64_t n = edit.source->rows();
    const int64_t k = edit.source->cols();
    std::vector<float> all(static_cast<size_t>(n * k));
    OCTAVO_RETURN_IF_ERROR(ForBlocks(n, kRows, pool, [&](int64_t begin, int64_t count) {
      float* rows = all.data() + begin * k;
      OCTAVO_RETURN_IF_ERROR(ReadOriginalRows(checkpoint_, *edit.source, begin, count, rows));
      TurnRows(edit, count, rows);
      return Status::Ok();
    }));
    OCTAVO_RETURN_IF_ERROR(ForBlocks(k, kColumns, pool, [&](int64_t begin, int64_t count) {
      TurnColumns(*edit.output, n, k, begin, count, all.data());
      return Status::Ok();
    }));
    return ForBlocks(n, kRows, pool, [&](int64_t begin, int64_t count) {
      return WriteRows(edit, begin, std::span(all).subspan(static_cast<size_t>(begin * k),
                                                           static_cast<size_t>(count * k)),
                       writer);
    });
  }

  static void TurnRows(const Edit& edit, int64_t count, float* rows) {
    const int64_t k = edit.source->cols();
    if (edit.ones) std::fill_n(rows, count * k, 1.0f);
    if (edit.input == nullptr) return;
    std::vector<double> row(static_cast<size_t>(k)), scratch;
    for (int64_t i = 0; i < count; ++i) {
      float* values = rows + i * k;
      for (int64_t j = 0; j < k; ++j) {
        const auto at = static_cast<size_t>(j);
        const double gain = edit.gain == nullptr ? 1.0 : static_cast<double>((*edit.gain)[at]);
        row[at] = static_cast<double>(values[j]) * gain;
      }
      for (int64_t j = 0; j < k; j += edit.input->size()) edit.input->Apply(row.data() + j, scratch);
      for (int64_t j = 0; j < k; ++j) values[j] = static_cast<float>(row[static_cast<size_t>(j)]);
    }
  }

  static void TurnColumns(const Rotation& rotation, int64_t n, int64_t k, int64_t begin, int64_t count,
                          float* all) {
    std::vector<double> columns(static_cast<size_t>(count * n)), scratch;
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t j = 0; j < count; ++j) {
        columns[static_cast<size_t>(j * n + row)] = static_cast<double>(all[row * k + begin + j]);
      }
    }
    for (int64_t at = 0; at < count * n; at += rotation.size()) {
      rotation.Apply(columns.data() + at, scratch);
    }
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t j = 0; j < count; ++j) {
        all[row * k + begin + j] = static_cast<float>(columns[static_cast<size_t>(j * n + row)]);
      }
    }
  }

  Status WriteRows(const Edit& edit, int64_t begin, std::span<const float> rows,
                   SafetensorsWriter& writer) const {
    const std::vector<std::byte> bytes = EncodeFloats(edit.spec.dtype, rows);
    const auto width = static_cast<uint64_t>(BitsOf(edit.spec.dtype) / 8);
    return writer.WriteAt(edit.name, static_cast<uint64_t>(begin * edit.source->cols()) * width, bytes);
  }

  template <typename Fn>
  Status ForBlocks(int64_t total, int64_t step, ThreadPool& pool, const Fn& fn) const {
    std::mutex mutex;
    Status first;
    const int64_t blocks = (total + step - 1) / step;
    pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t block = begin; block < end; ++block) {
        const bool cancelled = options_.cancel != nullptr && options_.cancel->load();
        const int64_t at = block * step;
        Status status = cancelled ? Cancelled("interrupted") : fn(at, std::min(step, total - at));
        if (status.ok()) continue;
        const std::lock_guard lock(mutex);
        if (first.ok()) first = std::move(status);
        return;
      }
    });
    return first;
  }

  const Checkpoint& checkpoint_;
  const RotateOptions& options_;
  const ModelArch* arch_ = nullptr;
  ModelConfig config_;
  std::optional<Rotation> residual_;
  std::optional<Rotation> values_;
  std::unordered_map<std::string, std::vector<float>> gains_;  // by tensor
  std::vector<std::vector<Edit>> shards_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

Result<RotateResult> DescribeRotation(const Checkpoint& checkpoint, const RotateOptions& options) {
  Rotator rotator(checkpoint, options);
  OCTAVO_RETURN_IF_ERROR(rotator.Prepare());
  return rotator.result();
}

Result<RotateResult> RotateCheckpoint(const Checkpoint& checkpoint, const RotateOptions& options,
                                      const std::string& folder, ThreadPool& pool) {
  Rotator rotator(checkpoint, options);
  OCTAVO_RETURN_IF_ERROR(rotator.Prepare());
  std::error_code error;
  if (fs::exists(folder + "/config.json", error)) return rotator.result();
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  if (error) return IoError(fmt::format("{}: create failed: {}", folder, error.message()));
  OCTAVO_RETURN_IF_ERROR(rotator.Run(folder, pool));
  return rotator.result();
}

}  // namespace octavo
