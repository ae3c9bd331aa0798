// SPDX-License-Identifier: Apache-2.0
// The GGUF parser: a buffered cursor, then header, metadata, tensor directory and their checks.
#include "io/gguf_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

namespace octavo {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint64_t kMaxKeys = uint64_t{1} << 16;
constexpr uint64_t kMaxTensors = uint64_t{1} << 18;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr size_t kBufferBytes = size_t{64} << 10;
// Smallest possible sizes in the file, to bound counts by what is left of it.
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// Sequential reads through a small buffer, so that no page of the mapping is touched.
class Cursor {
 public:
  explicit Cursor(const MmapFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return file_.size() - position_; }

  Status Read(void* out, uint64_t bytes, std::string_view what) {
    if (bytes > remaining()) {
      return DataLoss(fmt::format("{} at byte {} needs {} bytes, the file has {} more", what,
                                  position_, bytes, remaining()));
    }
    if (bytes > kBufferBytes) {
      OCTAVO_RETURN_IF_ERROR(file_.ReadRange(position_, bytes, out));
    } else {
      if (position_ < begin_ || position_ + bytes > begin_ + buffer_.size()) {
        OCTAVO_RETURN_IF_ERROR(Fill());
      }
      std::memcpy(out, buffer_.data() + (position_ - begin_), bytes);
    }
    position_ += bytes;
    return Status::Ok();
  }

  template <typename T>
  Result<T> Number(std::string_view what) {
    T value{};
    OCTAVO_RETURN_IF_ERROR(Read(&value, sizeof value, what));
    return value;
  }

  // u64 length + bytes, appended to `out`.
  Status AppendString(std::string& out, uint64_t max_bytes, std::string_view what) {
    OCTAVO_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(what));
    if (length > std::min(max_bytes, remaining())) {
      return DataLoss(fmt::format("{} at byte {} has length {}, want at most {}", what,
                                  position_ - 8, length, std::min(max_bytes, remaining())));
    }
    const size_t old_size = out.size();
    out.resize(old_size + length);
    return Read(out.data() + old_size, length, what);
  }

 private:
  Status Fill() {
    begin_ = position_;
    buffer_.resize(std::min<uint64_t>(kBufferBytes, remaining()));
    return file_.ReadRange(begin_, buffer_.size(), buffer_.data());
  }

  const MmapFile& file_;
  uint64_t position_ = 0;
  uint64_t begin_ = 0;  // File offset of buffer_.
  std::string buffer_;
};

// Keys and names go into messages: keep them short and printable.
std::string Quoted(std::string_view name) {
  std::string text(name.substr(0, 100));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32) c = '?';
  }
  return fmt::format("'{}'", text);
}

Result<GgufType> ReadType(Cursor& cursor, std::string_view what) {
  OCTAVO_ASSIGN_OR_RETURN(const uint32_t id, cursor.Number<uint32_t>(what));
  if (id < kNumGgufTypes) return static_cast<GgufType>(id);
  return DataLoss(fmt::format("{} at byte {} has value type {}, want 0 to {}", what,
                              cursor.position() - 4, id, kNumGgufTypes - 1));
}

Status ReadStrings(Cursor& cursor, std::string_view what, GgufValue& value) {
  value.ends.reserve(value.count);
  for (uint64_t i = 0; i < value.count; ++i) {
    OCTAVO_RETURN_IF_ERROR(cursor.AppendString(value.bytes, cursor.remaining(), what));
    value.ends.push_back(value.bytes.size());
  }
  return Status::Ok();
}

Result<GgufValue> ReadValue(Cursor& cursor, std::string_view what) {
  GgufValue value;
  OCTAVO_ASSIGN_OR_RETURN(value.type, ReadType(cursor, what));
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    OCTAVO_ASSIGN_OR_RETURN(value.type, ReadType(cursor, what));
    if (value.type == GgufType::kArray)
      return DataLoss(fmt::format("{} is an array of arrays", what));
    OCTAVO_ASSIGN_OR_RETURN(value.count, cursor.Number<uint64_t>(what));
  }
  // A string takes at least its 8-byte length.
  const uint64_t element_bytes = value.type == GgufType::kString ? 8 : GgufTypeBytes(value.type);
  if (value.count > cursor.remaining() / element_bytes) {
    return DataLoss(fmt::format("{} at byte {} has {} elements, the file has {} bytes more", what,
                                cursor.position(), value.count, cursor.remaining()));
  }
  if (value.type == GgufType::kString) {
    OCTAVO_RETURN_IF_ERROR(ReadStrings(cursor, what, value));
    return value;
  }
  value.bytes.resize(value.count * element_bytes);
  OCTAVO_RETURN_IF_ERROR(cursor.Read(value.bytes.data(), value.bytes.size(), what));
  if (value.type == GgufType::kBool && std::any_of(value.bytes.begin(), value.bytes.end(),
                                                   [](char c) { return c != 0 && c != 1; })) {
    return DataLoss(fmt::format("{} has a BOOL that is neither 0 nor 1", what));
  }
  return value;
}

Result<GgmlType> CheckTensorType(uint32_t id, const std::string& what) {
  if (const GgmlTypeInfo* info = FindGgmlType(id)) return info->type;
  const std::string_view name = GgmlTypeName(id);
  if (name == "unknown") return DataLoss(fmt::format("{} has unknown type {}", what, id));
  return Unimplemented(fmt::format(
      "{} has type {}, want one of F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K", what,
      name));
}

// `offset` of the result counts from the start of the data part.
Result<GgufTensor> ReadTensorInfo(Cursor& cursor) {
  GgufTensor tensor;
  OCTAVO_RETURN_IF_ERROR(cursor.AppendString(tensor.name, kMaxTensorNameBytes, "tensor name"));
  if (tensor.name.empty()) {
    return DataLoss(fmt::format("tensor name at byte {} is empty", cursor.position() - 8));
  }
  const std::string what = "tensor " + Quoted(tensor.name);
  OCTAVO_ASSIGN_OR_RETURN(const uint32_t num_dims, cursor.Number<uint32_t>(what));
  if (num_dims == 0 || num_dims > kMaxDims) {
    return DataLoss(fmt::format("{} has {} dimensions, want 1 to {}", what, num_dims, kMaxDims));
  }
  std::vector<uint64_t> dims(num_dims);
  OCTAVO_RETURN_IF_ERROR(cursor.Read(dims.data(), num_dims * sizeof(uint64_t), what));
  OCTAVO_ASSIGN_OR_RETURN(const uint32_t type_id, cursor.Number<uint32_t>(what));
  OCTAVO_ASSIGN_OR_RETURN(tensor.type, CheckTensorType(type_id, what));
  OCTAVO_ASSIGN_OR_RETURN(tensor.offset, cursor.Number<uint64_t>(what));
  if (std::find(dims.begin(), dims.end(), uint64_t{0}) != dims.end()) {
    return DataLoss(what + " has a dimension of 0");
  }
  std::reverse(dims.begin(), dims.end());
  auto shape = Shape::FromDims(dims);
  if (!shape.ok()) return DataLoss(fmt::format("{}: {}", what, shape.status().message()));
  tensor.shape = *shape;
  const auto row_bytes = GgmlRowBytes(tensor.type, dims.back());
  if (!row_bytes) {
    return DataLoss(fmt::format("{} {}: {} wants the last dimension to be a multiple of {}", what,
                                tensor.shape.ToString(), GgmlTypeName(type_id),
                                InfoOf(tensor.type).block_elems));
  }
  // At most 2^62 elements of at most 4 bytes: the count is taken first, so the product fits.
  const uint64_t rows = static_cast<uint64_t>(tensor.shape.NumElements()) / dims.back();
  if (__builtin_mul_overflow(rows, *row_bytes, &tensor.bytes)) {
    return DataLoss(fmt::format("{} {}: size overflows", what, tensor.shape.ToString()));
  }
  return tensor;
}

}  // namespace

// Fills a GgufReader from its file.
class GgufReader::Parser {
 public:
  explicit Parser(GgufReader& reader) : reader_(reader), cursor_(reader.file_) {}

  Status Run() {
    OCTAVO_RETURN_IF_ERROR(ReadHeader());
    for (uint64_t i = 0; i < num_keys_; ++i) OCTAVO_RETURN_IF_ERROR(ReadKey());
    OCTAVO_RETURN_IF_ERROR(CheckGeneral());
    reader_.tensors_.reserve(num_tensors_);
    std::unordered_set<std::string> names;
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      OCTAVO_ASSIGN_OR_RETURN(GgufTensor tensor, ReadTensorInfo(cursor_));
      if (!names.insert(tensor.name).second) {
        return DataLoss(fmt::format("duplicate tensor {}", Quoted(tensor.name)));
      }
      reader_.tensors_.push_back(std::move(tensor));
    }
    return PlaceTensors();
  }

 private:
  Status ReadHeader() {
    char magic[4] = {};
    OCTAVO_RETURN_IF_ERROR(cursor_.Read(magic, sizeof magic, "magic"));
    if (std::memcmp(magic, "GGUF", 4) != 0) return DataLoss("does not begin with 'GGUF'");
    OCTAVO_ASSIGN_OR_RETURN(reader_.version_, cursor_.Number<uint32_t>("version"));
    const uint32_t version = reader_.version_;
    if (version != 0 && (version & 0xffff) == 0) return Unimplemented("big-endian GGUF file");
    if (version != 2 && version != 3) {
      return Unimplemented(fmt::format("GGUF version {}, want 2 or 3", version));
    }
    OCTAVO_ASSIGN_OR_RETURN(num_tensors_, cursor_.Number<uint64_t>("tensor count"));
    OCTAVO_ASSIGN_OR_RETURN(num_keys_, cursor_.Number<uint64_t>("metadata count"));
    const uint64_t max_tensors = std::min(kMaxTensors, cursor_.remaining() / kMinTensorBytes);
    if (num_tensors_ > max_tensors) {
      return DataLoss(fmt::format("{} tensors, want at most {}", num_tensors_, max_tensors));
    }
    const uint64_t max_keys = std::min(kMaxKeys, cursor_.remaining() / kMinKeyBytes);
    if (num_keys_ > max_keys) {
      return DataLoss(fmt::format("{} metadata keys, want at most {}", num_keys_, max_keys));
    }
    return Status::Ok();
  }

  Status ReadKey() {
    std::string key;
    OCTAVO_RETURN_IF_ERROR(cursor_.AppendString(key, kMaxKeyBytes, "metadata key"));
    if (key.empty()) {
      return DataLoss(fmt::format("metadata key at byte {} is empty", cursor_.position() - 8));
    }
    const std::string what = "metadata " + Quoted(key);
    OCTAVO_ASSIGN_OR_RETURN(GgufValue value, ReadValue(cursor_, what));
    if (reader_.metadata_.Insert(std::move(key), std::move(value))) return Status::Ok();
    return DataLoss(what + " appears twice");
  }

  Status CheckGeneral() {
    const GgufMetadata& metadata = reader_.metadata_;
    OCTAVO_ASSIGN_OR_RETURN(reader_.architecture_, metadata.GetString("general.architecture"));
    OCTAVO_ASSIGN_OR_RETURN(const int64_t alignment, metadata.GetIntOr("general.alignment", 32));
    reader_.alignment_ = static_cast<uint64_t>(alignment);
    if (!std::has_single_bit(reader_.alignment_) || reader_.alignment_ > kMaxAlignment) {
      return DataLoss(fmt::format("'general.alignment' is {}, want a power of two up to {}",
                                  alignment, kMaxAlignment));
    }
    OCTAVO_ASSIGN_OR_RETURN(const int64_t parts, metadata.GetIntOr("split.count", 1));
    if (parts <= 1) return Status::Ok();
    return Unimplemented(fmt::format("one of {} parts of a split GGUF; merge them first", parts));
  }

  Status PlaceTensors() {
    const uint64_t mask = reader_.alignment_ - 1;
    const uint64_t padding = (~cursor_.position() + 1) & mask;
    const uint64_t data_bytes = cursor_.remaining() < padding ? 0 : cursor_.remaining() - padding;
    const uint64_t data_start = cursor_.position() + padding;
    auto& tensors = reader_.tensors_;
    for (GgufTensor& tensor : tensors) {
      if ((tensor.offset & mask) != 0) {
        return DataLoss(fmt::format("tensor {} has offset {}, want a multiple of {}",
                                    Quoted(tensor.name), tensor.offset, reader_.alignment_));
      }
      if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
        return DataLoss(fmt::format("tensor {} takes data bytes [{}, +{}), the file has {}",
                                    Quoted(tensor.name), tensor.offset, tensor.bytes, data_bytes));
      }
      tensor.offset += data_start;
    }
    std::sort(tensors.begin(), tensors.end(),
              [](const GgufTensor& a, const GgufTensor& b) { return a.offset < b.offset; });
    for (size_t i = 1; i < tensors.size(); ++i) {
      const GgufTensor& previous = tensors[i - 1];
      if (previous.offset + previous.bytes <= tensors[i].offset) continue;
      return DataLoss(fmt::format("tensors {} and {} overlap at byte {}", Quoted(previous.name),
                                  Quoted(tensors[i].name), tensors[i].offset));
    }
    return Status::Ok();
  }

  GgufReader& reader_;
  Cursor cursor_;
  uint64_t num_tensors_ = 0;
  uint64_t num_keys_ = 0;
};

Result<std::unique_ptr<GgufReader>> GgufReader::Open(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(MmapFile file, MmapFile::Open(path));
  return FromFile(std::move(file));
}

Result<std::unique_ptr<GgufReader>> GgufReader::FromFile(MmapFile file) {
  std::unique_ptr<GgufReader> reader(new GgufReader());
  reader->file_ = std::move(file);
  if (Status status = Parser(*reader).Run(); !status.ok()) {
    return std::move(status).WithContext(reader->file_.path());
  }
  for (size_t i = 0; i < reader->tensors_.size(); ++i) {
    reader->by_name_.emplace(reader->tensors_[i].name, i);
  }
  return reader;
}

const GgufTensor* GgufReader::Find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace octavo
