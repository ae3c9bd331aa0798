// SPDX-License-Identifier: Apache-2.0
// Opens either form of a model and reads rows out of it.
#include "io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/aligned_buffer.h"
#include "base/float16.h"
#include "io/gguf_model.h"
#include "io/shard_index.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kScratchBytes = uint64_t{256} << 10;
constexpr size_t kMaxConfigBytes = size_t{16} << 20;

Status BadFile(const std::string& path, const std::string& magic) {
  std::string found = "a file of another kind";
  if (path.ends_with(".safetensors")) found = "a single safetensors file: give the folder it is in";
  if (path.ends_with(".bin") || path.ends_with(".pt") || path.ends_with(".pth") ||
      magic.starts_with("PK")) {
    found = "a pickle, which can run code and is never read";
  }
  return InvalidArgument(fmt::format(
      "{}: is {}, want a folder with config.json and safetensors, or a GGUF file", path, found));
}

bool IsFloat(DType dtype) {
  using enum DType;
  return dtype == kF32 || dtype == kF16 || dtype == kBF16 || dtype == kF64 || dtype == kF8E4M3 ||
         dtype == kF8E5M2;
}

template <typename T, typename Convert>
void ConvertAll(const std::byte* data, size_t count, float* out, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = convert(value);
  }
}

// `count` elements of a float dtype.
void ConvertFloats(DType dtype, const std::byte* data, size_t count, float* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, data, count * sizeof(float));
      return;
    case DType::kF16:
      return ConvertAll<uint16_t>(data, count, out, F16ToF32);
    case DType::kBF16:
      return ConvertAll<uint16_t>(data, count, out, Bf16ToF32);
    case DType::kF8E4M3:
      return ConvertAll<uint8_t>(data, count, out, E4M3ToF32);
    case DType::kF8E5M2:
      return ConvertAll<uint8_t>(data, count, out, E5M2ToF32);
    default:
      return ConvertAll<double>(data, count, out, [](double v) { return static_cast<float>(v); });
  }
}

Status CheckRows(const StoredTensor& tensor, int64_t row_begin, int64_t row_count) {
  if (row_begin < 0 || row_count < 0 || row_begin > tensor.rows() ||
      row_count > tensor.rows() - row_begin) {
    return InvalidArgument(fmt::format("tensor '{}': rows [{}, +{}), it has {}", tensor.name,
                                       row_begin, row_count, tensor.rows()));
  }
  if (tensor.RowBytes() == 0 && tensor.cols() > 0) {
    return InvalidArgument(fmt::format("tensor '{}' {} {}: rows end inside a byte", tensor.name,
                                       NameOf(tensor.dtype), tensor.shape.ToString()));
  }
  return Status::Ok();
}

// Calls consume(first_row, rows, bytes) for consecutive pieces of at most about kScratchBytes.
template <typename Consume>
Status ForEachPiece(const Checkpoint& checkpoint, const StoredTensor& tensor, int64_t row_begin,
                    int64_t row_count, Consume consume) {
  OCTAVO_RETURN_IF_ERROR(CheckRows(tensor, row_begin, row_count));
  const uint64_t row_bytes = tensor.RowBytes();
  if (row_bytes == 0 || row_count == 0) return Status::Ok();
  const auto max_rows = static_cast<int64_t>(std::max<uint64_t>(kScratchBytes / row_bytes, 1));
  const int64_t piece_rows = std::min(max_rows, row_count);
  OCTAVO_ASSIGN_OR_RETURN(AlignedBuffer scratch,
                          AlignedBuffer::Allocate(static_cast<uint64_t>(piece_rows) * row_bytes));
  for (int64_t done = 0; done < row_count; done += piece_rows) {
    const int64_t rows = std::min(piece_rows, row_count - done);
    OCTAVO_RETURN_IF_ERROR(
        checkpoint.ReadRowsBytes(tensor, row_begin + done, rows, scratch.data()));
    consume(done, rows, scratch.data());
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return OpenFolder(path);
  OCTAVO_ASSIGN_OR_RETURN(MmapFile file, MmapFile::Open(path));
  std::string magic(std::min<uint64_t>(file.size(), 4), '\0');
  OCTAVO_RETURN_IF_ERROR(file.ReadRange(0, magic.size(), magic.data()));
  if (magic != "GGUF" && !path.ends_with(".gguf")) return BadFile(path, magic);
  OCTAVO_ASSIGN_OR_RETURN(auto gguf, GgufReader::FromFile(std::move(file)));
  return FromGguf(std::move(gguf));
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::FromGguf(std::unique_ptr<GgufReader> gguf) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->path_ = gguf->file().path();
  auto model = MapGgufModel(*gguf);
  if (!model.ok()) return std::move(model).status().WithContext(checkpoint->path_);
  checkpoint->config_ = std::move(model->config);
  checkpoint->tensors_ = std::move(model->tensors);
  checkpoint->gguf_ = std::move(gguf);
  checkpoint->IndexTensors();
  return checkpoint;
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::OpenFolder(const std::string& folder) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->path_ = folder;
  const std::string config_path = (fs::path(folder) / "config.json").string();
  std::error_code error;
  if (!fs::exists(config_path, error)) {
    return NotFound(fmt::format(
        "{}: has no config.json, want a folder with config.json and safetensors, or a GGUF file",
        folder));
  }
  JsonLimits limits;
  limits.max_bytes = kMaxConfigBytes;
  OCTAVO_ASSIGN_OR_RETURN(checkpoint->config_, ParseJsonFile(config_path, limits));
  if (!checkpoint->config_.is_object()) {
    return DataLoss(
        fmt::format("{}: is {}, want an object", config_path, checkpoint->config_.type_name()));
  }
  OCTAVO_ASSIGN_OR_RETURN(checkpoint->shards_, OpenShards(folder));
  for (const auto& shard : checkpoint->shards_) {
    for (const SafetensorsEntry& entry : shard->tensors()) {
      StoredTensor tensor;
      tensor.name = entry.name;
      tensor.shape = entry.shape;
      tensor.dtype = entry.dtype;
      tensor.file = &shard->file();
      tensor.offset = entry.offset;
      tensor.bytes = entry.bytes;
      checkpoint->tensors_.push_back(std::move(tensor));
    }
  }
  checkpoint->IndexTensors();
  return checkpoint;
}

void Checkpoint::IndexTensors() {
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const StoredTensor* Checkpoint::Find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

Status Checkpoint::ReadRowsBytes(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                                 void* out) const {
  OCTAVO_RETURN_IF_ERROR(CheckRows(tensor, row_begin, row_count));
  const uint64_t row_bytes = tensor.RowBytes();
  if (tensor.interleaved_heads == 0) {
    return tensor.file->ReadRange(tensor.offset + static_cast<uint64_t>(row_begin) * row_bytes,
                                  static_cast<uint64_t>(row_count) * row_bytes, out);
  }
  auto* cursor = static_cast<std::byte*>(out);
  for (int64_t row = row_begin; row < row_begin + row_count; ++row, cursor += row_bytes) {
    const auto stored = static_cast<uint64_t>(tensor.StoredRow(row));
    OCTAVO_RETURN_IF_ERROR(
        tensor.file->ReadRange(tensor.offset + stored * row_bytes, row_bytes, cursor));
  }
  return Status::Ok();
}

Status Checkpoint::ReadRowsF32(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                               float* out) const {
  if (!tensor.ggml_type && !IsFloat(tensor.dtype)) {
    return InvalidArgument(
        fmt::format("tensor '{}' is {}, want a float type", tensor.name, NameOf(tensor.dtype)));
  }
  const auto cols = static_cast<size_t>(tensor.cols());
  const auto convert = [&](int64_t first_row, int64_t rows, const std::byte* data) {
    float* target = out + static_cast<size_t>(first_row) * cols;
    const size_t count = static_cast<size_t>(rows) * cols;
    if (tensor.ggml_type) {
      DequantizeRow(*tensor.ggml_type, data, count, target);  // Rows are whole blocks.
    } else {
      ConvertFloats(tensor.dtype, data, count, target);
    }
    if (tensor.value_offset == 0.0f) return;
    for (size_t i = 0; i < count; ++i) target[i] += tensor.value_offset;
  };
  return ForEachPiece(*this, tensor, row_begin, row_count, convert);
}

Status Checkpoint::ReadRowsBf16(const StoredTensor& tensor, int64_t row_begin, int64_t row_count,
                                uint16_t* out) const {
  if (!tensor.ggml_type && tensor.dtype == DType::kBF16 && tensor.value_offset == 0.0f) {
    return ReadRowsBytes(tensor, row_begin, row_count, out);
  }
  const auto cols = static_cast<size_t>(tensor.cols());
  if (cols == 0) return CheckRows(tensor, row_begin, row_count);
  const auto piece_rows = static_cast<int64_t>(std::max<size_t>(kScratchBytes / 4 / cols, 1));
  OCTAVO_RETURN_IF_ERROR(CheckRows(tensor, row_begin, row_count));
  OCTAVO_ASSIGN_OR_RETURN(
      AlignedBuffer scratch,
      AlignedBuffer::Allocate(static_cast<size_t>(std::min(piece_rows, row_count)) * cols * 4));
  for (int64_t done = 0; done < row_count; done += piece_rows) {
    const int64_t rows = std::min(piece_rows, row_count - done);
    float* values = scratch.As<float>();
    OCTAVO_RETURN_IF_ERROR(ReadRowsF32(tensor, row_begin + done, rows, values));
    uint16_t* target = out + static_cast<size_t>(done) * cols;
    std::transform(values, values + static_cast<size_t>(rows) * cols, target, F32ToBf16);
  }
  return Status::Ok();
}

}  // namespace octavo
