// SPDX-License-Identifier: Apache-2.0
// FieldReader: typed, bounded access with messages of the form "'n' is -1, want 1 to 128".
#include "server/field_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace octavo::server {
namespace {

constexpr int kMaxDepth = 64;
// A JSON value costs up to about 64 bytes in memory but only 2 on the wire.
constexpr ptrdiff_t kMaxStructuralBytes = 4'000'000;
constexpr size_t kMaxQuotedBytes = 80;

// The value as an error message shows it.
std::string Shown(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  std::string text = DumpJson(value);
  if (text.size() > kMaxQuotedBytes) text = text.substr(0, kMaxQuotedBytes) + "...";
  return text;
}

// The integer that a JSON number denotes exactly, if any.
std::optional<int64_t> ExactInteger(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto raw = value.get<uint64_t>();
    if (raw > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(raw);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  // 2^53: beyond, a double does not say which integer was meant.
  if (!(std::abs(number) <= 9007199254740992.0) || std::trunc(number) != number) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

FieldReader::FieldReader(const Json& object) : object_(object) {
  if (!object.is_object()) error_ = ApiError{400, "want a JSON object", "", ""};
}

const Json* FieldReader::Value(std::string_view key) {
  known_.emplace(key);
  return error_ ? nullptr : Find(object_, key);
}

std::optional<double> FieldReader::Number(std::string_view key, double min, double max) {
  const Json* value = Value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Fail(key, fmt::format("'{}' is {}, want a number", key, Shown(*value)));
    return std::nullopt;
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    Fail(key, fmt::format("'{}' is {}, want {} to {}", key, Shown(*value), min, max));
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> FieldReader::Integer(std::string_view key, int64_t min, int64_t max) {
  const Json* value = Value(key);
  if (value == nullptr) return std::nullopt;
  const auto number = ExactInteger(*value);
  if (!number || *number < min || *number > max) {
    Fail(key, fmt::format("'{}' is {}, want an integer from {} to {}", key, Shown(*value), min, max));
    return std::nullopt;
  }
  return number;
}

std::optional<bool> FieldReader::Bool(std::string_view key) {
  const Json* value = Value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    Fail(key, fmt::format("'{}' is {}, want true or false", key, Shown(*value)));
    return std::nullopt;
  }
  return value->get<bool>();
}

std::optional<std::string> FieldReader::String(std::string_view key, size_t max_bytes) {
  const Json* value = Value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Fail(key, fmt::format("'{}' is {}, want a string", key, Shown(*value)));
    return std::nullopt;
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    Fail(key, fmt::format("'{}' has {} bytes, want at most {}", key, text.size(), max_bytes));
    return std::nullopt;
  }
  return text;
}

std::optional<std::vector<int32_t>> FieldReader::Ids(std::string_view key, size_t max_count) {
  const Json* value = Value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array() || value->size() > max_count) {
    Fail(key, fmt::format("'{}' is {}, want an array of at most {} token ids", key, Shown(*value),
                          max_count));
    return std::nullopt;
  }
  std::vector<int32_t> ids;
  ids.reserve(value->size());
  for (const Json& element : *value) {
    const auto id = ExactInteger(element);
    if (!id || *id < 0 || *id > INT32_MAX) {
      Fail(key, fmt::format("'{}' holds {}, want token ids", key, Shown(element)));
      return std::nullopt;
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

void FieldReader::Unsupported(std::string_view key, std::initializer_list<Json> neutral) {
  const Json* value = Value(key);
  if (value == nullptr) return;
  if (std::find(neutral.begin(), neutral.end(), *value) != neutral.end()) return;
  if (value->is_structured() && value->empty()) return;
  Fail(key, fmt::format("'{}' is not supported by this server", key));
  if (error_ && error_->param == key) error_->code = "unsupported_parameter";
}

void FieldReader::Accept(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) known_.emplace(key);
}

void FieldReader::Fail(std::string_view key, std::string message) {
  if (!error_) error_ = ApiError{400, std::move(message), std::string(key), ""};
}

std::vector<std::string> FieldReader::UnknownFields() const {
  std::vector<std::string> unknown;
  if (!object_.is_object()) return unknown;
  for (const auto& [key, value] : object_.items()) {
    if (!known_.contains(key)) unknown.push_back(key);
  }
  return unknown;
}

std::string IgnoredFieldsHeader(const std::vector<std::string>& fields) {
  constexpr size_t kMaxNames = 16;
  constexpr size_t kMaxNameBytes = 40;
  std::string header;
  for (size_t i = 0; i < fields.size() && i < kMaxNames; ++i) {
    if (i > 0) header += ", ";
    for (const char c : fields[i].substr(0, kMaxNameBytes)) {
      const bool plain = c > ' ' && c < 0x7f && c != ',';
      header += plain ? c : '?';
    }
  }
  if (fields.size() > kMaxNames) header += ", ...";
  return header;
}

ParsedBody ParseBody(std::string_view body) {
  if (body.empty()) return {{}, ApiError{400, "the request has no body, want a JSON object", "", ""}};
  const auto structural = std::count_if(body.begin(), body.end(), [](char c) {
    return c == ',' || c == '[' || c == '{';
  });
  if (structural > kMaxStructuralBytes) {
    return {{}, ApiError{413, "the request's JSON has too many values", "", ""}};
  }
  JsonLimits limits;
  limits.max_depth = kMaxDepth;
  auto json = ParseJson(body, limits);
  if (!json.ok()) return {{}, ApiError{400, json.status().message(), "", "invalid_json"}};
  if (!json->is_object()) {
    return {{}, ApiError{400, fmt::format("the request is {}, want a JSON object", Shown(*json)), "",
                         "invalid_json"}};
  }
  return {std::move(*json), std::nullopt};
}

}  // namespace octavo::server
