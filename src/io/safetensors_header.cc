// SPDX-License-Identifier: Apache-2.0
// A SAX handler turns the header straight into entries, so no JSON tree is ever built from it.
#include "io/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

#include "base/json.h"

namespace octavo {
namespace {

constexpr int kMaxDepth = 16;  // Real headers use 3; extra keys of an entry may nest a little.

// Follows the document's structure: { name: { "dtype": s, "shape": [n..], "data_offsets": [n, n] }
// }. Keys that the format does not know are skipped inside an entry. Each callback returns false to
// stop the parser, with error_ set.
class HeaderHandler {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  // NOLINTBEGIN(readability-identifier-naming): names fixed by nlohmann's SAX interface.
  bool null() {
    if (depth_ == 1 && in_metadata_) return Done();  // "__metadata__": null is allowed.
    return Other("null");
  }
  bool boolean(bool) { return Other("a boolean"); }
  bool number_integer(number_integer_t) { return Other("a negative number"); }
  bool number_float(number_float_t, const string_t&) { return Other("a fraction"); }
  bool binary(binary_t&) { return Other("binary"); }
  bool number_unsigned(number_unsigned_t value) {
    if (skip_depth_ > 0) return true;
    if (depth_ == 3 && field_ == Field::kShape) {
      if (shape_.size() == Shape::kMaxRank) return Fail("'shape' has too many dimensions");
      shape_.push_back(value);
      return true;
    }
    if (depth_ == 3 && field_ == Field::kOffsets) {
      if (offsets_.size() == 2) return Fail("'data_offsets' has more than 2 numbers");
      offsets_.push_back(value);
      return true;
    }
    return Other("a number");
  }
  bool string(string_t& value) {
    if (skip_depth_ > 0) return true;
    if (depth_ == 2 && in_metadata_) {
      header_.metadata.emplace_back(metadata_key_, value);
      return true;
    }
    if (depth_ == 2 && field_ == Field::kDType) {
      dtype_ = DTypeFromName(value);
      if (!dtype_) return Fail(fmt::format("unknown dtype '{}'", value.substr(0, 40)));
      return true;
    }
    return Other("a string");
  }
  bool start_object(size_t) {
    if (!Enter()) return false;
    if (skip_depth_ > 0 || depth_ <= 2) return true;
    return Skip("an object");
  }
  bool end_object() {
    if (Leave()) return true;
    return depth_ == 1 ? FinishEntry() : true;
  }
  bool start_array(size_t) {
    if (!Enter()) return false;
    if (skip_depth_ > 0) return true;
    if (depth_ == 1) return Fail("header is an array, want an object");
    const bool wanted =
        !in_metadata_ && depth_ == 3 && (field_ == Field::kShape || field_ == Field::kOffsets);
    return wanted || Skip("an array");
  }
  bool end_array() {
    Leave();
    return true;
  }
  bool key(string_t& key) {
    if (skip_depth_ > 0) return true;
    if (depth_ == 1) return StartEntry(key);
    if (in_metadata_) {
      metadata_key_ = key;
      return metadata_keys_.insert(key).second || Fail(fmt::format("duplicate key '{}'", key));
    }
    return StartField(key);
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    error_ = fmt::format("header is not valid JSON at byte {}", position + 8);
    return false;
  }
  // NOLINTEND(readability-identifier-naming)

  const std::string& error() const { return error_; }
  SafetensorsHeader&& header() && { return std::move(header_); }

 private:
  enum class Field { kNone, kDType, kShape, kOffsets, kExtra };

  bool Fail(std::string_view what) {
    if (in_metadata_) {
      error_ = fmt::format("__metadata__: {}", what);
    } else if (entry_.name.empty()) {
      error_ = what;
    } else {
      error_ = fmt::format("tensor '{}': {}", entry_.name.substr(0, 200), what);
    }
    return false;
  }

  bool Enter() {
    if (++depth_ <= kMaxDepth) return true;
    return Fail(fmt::format("header nested deeper than {} levels", kMaxDepth));
  }

  // Closes one level; true when it was part of a skipped value.
  bool Leave() {
    --depth_;
    if (skip_depth_ == 0) return false;
    if (depth_ < skip_depth_) skip_depth_ = 0;
    return true;
  }

  // A container where none is expected: fine inside an entry's extra keys only.
  bool Skip(std::string_view what) {
    if (in_metadata_ || field_ != Field::kExtra) return Fail(fmt::format("unexpected {}", what));
    skip_depth_ = depth_;
    return true;
  }

  // A scalar where none is expected.
  bool Other(std::string_view what) {
    if (skip_depth_ > 0 || (depth_ == 2 && !in_metadata_ && field_ == Field::kExtra)) return true;
    if (depth_ == 0) return Fail(fmt::format("header is {}, want an object", what));
    if (in_metadata_) return Fail(fmt::format("value is {}, want a string", what));
    return Fail(fmt::format("unexpected {}", what));
  }

  bool Done() {
    in_metadata_ = false;
    return true;
  }

  bool StartEntry(const std::string& name) {
    entry_ = {};
    if (!names_.insert(name).second) {
      return Fail(fmt::format("duplicate tensor name '{}'", name.substr(0, 200)));
    }
    in_metadata_ = name == "__metadata__";
    if (!in_metadata_ && header_.tensors.size() == kMaxSafetensorsTensors) {
      return Fail(fmt::format("more than {} tensors", kMaxSafetensorsTensors));
    }
    entry_.name = name;
    fields_seen_.clear();
    shape_.clear();
    offsets_.clear();
    dtype_.reset();
    field_ = Field::kNone;
    return true;
  }

  bool StartField(const std::string& key) {
    field_ = key == "dtype"          ? Field::kDType
             : key == "shape"        ? Field::kShape
             : key == "data_offsets" ? Field::kOffsets
                                     : Field::kExtra;
    if (field_ == Field::kExtra) return true;
    if (std::find(fields_seen_.begin(), fields_seen_.end(), field_) != fields_seen_.end()) {
      return Fail(fmt::format("duplicate key '{}'", key));
    }
    fields_seen_.push_back(field_);
    return true;
  }

  bool FinishEntry() {
    if (in_metadata_) return Done();
    if (fields_seen_.size() != 3) return Fail("wants 'dtype', 'shape' and 'data_offsets'");
    if (offsets_.size() != 2) return Fail("'data_offsets' wants 2 numbers");
    if (offsets_[1] < offsets_[0]) {
      return Fail(
          fmt::format("'data_offsets' [{}, {}] end before they begin", offsets_[0], offsets_[1]));
    }
    const auto shape = Shape::FromDims(shape_);
    if (!shape.ok()) return Fail(shape.status().message());
    const auto bytes = BytesOf(*dtype_, static_cast<uint64_t>(shape->NumElements()));
    if (!bytes) return Fail("size overflows or ends inside a byte");
    if (*bytes != offsets_[1] - offsets_[0]) {
      return Fail(fmt::format("'data_offsets' [{}, {}] span {} bytes, want {} for {} {}",
                              offsets_[0], offsets_[1], offsets_[1] - offsets_[0], *bytes,
                              NameOf(*dtype_), shape->ToString()));
    }
    entry_.dtype = *dtype_;
    entry_.shape = *shape;
    entry_.offset = offsets_[0];
    entry_.bytes = *bytes;
    header_.tensors.push_back(std::move(entry_));
    entry_ = {};
    return true;
  }

  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> metadata_keys_;
  std::string metadata_key_;
  bool in_metadata_ = false;
  int depth_ = 0;
  int skip_depth_ = 0;  // Depth of the outermost container being skipped; 0 = none.
  Field field_ = Field::kNone;
  std::vector<Field> fields_seen_;
  SafetensorsEntry entry_;
  std::optional<DType> dtype_;
  std::vector<uint64_t> shape_;
  std::vector<uint64_t> offsets_;
  std::string error_;
};

Status CheckTiling(const std::vector<SafetensorsEntry>& tensors, uint64_t data_bytes) {
  uint64_t position = 0;
  for (const SafetensorsEntry& entry : tensors) {
    if (entry.offset != position) {
      return DataLoss(fmt::format("tensor '{}' begins at data byte {}, want {}: {}", entry.name,
                                  entry.offset, position,
                                  entry.offset < position ? "tensors overlap" : "there is a hole"));
    }
    position += entry.bytes;  // At most 2^64 - 1: it equals the entry's end offset.
  }
  if (position != data_bytes) {
    return DataLoss(fmt::format("tensors end at data byte {}, the file has {} data bytes", position,
                                data_bytes));
  }
  return Status::Ok();
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, uint64_t data_bytes) {
  // The JSON lexer takes NUL for the end of input and skips a byte order mark; the format has
  // neither.
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos) {
    return DataLoss(fmt::format("header has a NUL at byte {}", nul + 8));
  }
  if (json.starts_with("\xef\xbb\xbf")) return DataLoss("header begins with a byte order mark");
  HeaderHandler handler;
  if (!Json::sax_parse(json, &handler)) {
    return DataLoss(handler.error().empty() ? "header is not valid JSON" : handler.error());
  }
  SafetensorsHeader header = std::move(handler).header();
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
            });
  OCTAVO_RETURN_IF_ERROR(CheckTiling(header.tensors, data_bytes));
  return header;
}

Result<std::string> MakeSafetensorsHeader(
    std::vector<SafetensorsEntry>& tensors,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::string json = "{\"__metadata__\":{";
  for (size_t i = 0; i < metadata.size(); ++i) {
    json += fmt::format("{}{}:{}", i == 0 ? "" : ",", DumpJson(Json(metadata[i].first)),
                        DumpJson(Json(metadata[i].second)));
  }
  json += "}";
  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (SafetensorsEntry& entry : tensors) {
    if (entry.name.empty() || entry.name == "__metadata__" || !names.insert(entry.name).second) {
      return InvalidArgument(
          fmt::format("tensor name '{}' is empty, reserved or used twice", entry.name));
    }
    const auto count = entry.shape.CheckedNumElements();
    const auto bytes = count ? BytesOf(entry.dtype, static_cast<uint64_t>(*count)) : std::nullopt;
    if (!bytes || *bytes > std::numeric_limits<int64_t>::max() - offset) {
      return InvalidArgument(
          fmt::format("tensor '{}': size of {} {} overflows or ends inside a byte", entry.name,
                      NameOf(entry.dtype), entry.shape.ToString()));
    }
    entry.offset = offset;
    entry.bytes = *bytes;
    offset += *bytes;
    std::string shape = entry.shape.ToString();
    std::erase(shape, ' ');
    json +=
        fmt::format(R"(,{}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                    DumpJson(Json(entry.name)), NameOf(entry.dtype), shape, entry.offset, offset);
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes) {
    return InvalidArgument(fmt::format("header of {} bytes, the format allows {}", json.size(),
                                       kMaxSafetensorsHeaderBytes));
  }
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> (8 * i) & 0xff);
  return header + json;
}

}  // namespace octavo
