// SPDX-License-Identifier: Apache-2.0
// JSON parsing on top of nlohmann's SAX interface, which lets depth and duplicates be refused early.
#include "base/json.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "base/file.h"

namespace octavo {
namespace {

// Forwards to nlohmann's DOM builder and refuses what the limits forbid.
class BoundedBuilder : public nlohmann::detail::json_sax_dom_parser<Json> {
 public:
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;
  BoundedBuilder(Json& root, const JsonLimits& limits) : Base(root, false), limits_(limits) {}

  bool start_object(std::size_t count) {
    if (!Enter()) return false;
    if (limits_.reject_duplicate_keys) keys_.emplace_back();
    return Base::start_object(count);
  }
  bool end_object() {
    --depth_;
    if (limits_.reject_duplicate_keys) keys_.pop_back();
    return Base::end_object();
  }
  bool start_array(std::size_t count) { return Enter() && Base::start_array(count); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(std::string& name) {
    if (limits_.reject_duplicate_keys && !keys_.back().insert(name).second) {
      error_ = fmt::format("duplicate key '{}'", name.substr(0, 100));
      return false;
    }
    return Base::key(name);
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& exception) {
    // The message quotes the last token, which may be as long as the document.
    error_ = fmt::format("invalid JSON at byte {}: {}", position,
                         std::string_view(exception.what()).substr(0, 300));
    return false;
  }
  const std::string& error() const { return error_; }

 private:
  bool Enter() {
    if (++depth_ <= limits_.max_depth) return true;
    error_ = fmt::format("JSON nested deeper than {} levels", limits_.max_depth);
    return false;
  }

  const JsonLimits& limits_;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

Status WrongType(std::string_view key, const Json& value, std::string_view want) {
  return InvalidArgument(fmt::format("'{}' is {}, want {}", key, value.type_name(), want));
}

Status Missing(std::string_view key) { return NotFound(fmt::format("'{}' is missing", key)); }

Result<int64_t> ToInt(const Json& value, std::string_view key, int64_t min, int64_t max) {
  int64_t number = 0;
  if (value.is_number_unsigned()) {
    const uint64_t raw = value.get<uint64_t>();
    if (raw > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InvalidArgument(fmt::format("'{}' is {}, want at most {}", key, raw, max));
    }
    number = static_cast<int64_t>(raw);
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else {
    return WrongType(key, value, "an integer");
  }
  if (number < min || number > max) {
    return InvalidArgument(fmt::format("'{}' is {}, want {} to {}", key, number, min, max));
  }
  return number;
}

}  // namespace

Result<Json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return ResourceExhausted(
        fmt::format("JSON of {} bytes, limit {}", text.size(), limits.max_bytes));
  }
  // The lexer takes a NUL for the end of the input and would ignore what follows it.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return DataLoss(fmt::format("invalid JSON at byte {}: NUL", nul));
  }
  Json root;
  BoundedBuilder builder(root, limits);
  if (!Json::sax_parse(text, &builder)) {
    return DataLoss(builder.error().empty() ? "invalid JSON" : builder.error());
  }
  return root;
}

Result<Json> ParseJsonFile(const std::string& path, const JsonLimits& limits) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, limits.max_bytes));
  auto json = ParseJson(text, limits);
  if (!json.ok()) return std::move(json).status().WithContext(path);
  return json;
}

std::string DumpJson(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

const Json* Find(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<int64_t> GetInt(const Json& object, std::string_view key, int64_t min, int64_t max) {
  const Json* value = Find(object, key);
  if (value == nullptr) return Missing(key);
  return ToInt(*value, key, min, max);
}

Result<int64_t> GetIntOr(const Json& object, std::string_view key, int64_t fallback, int64_t min,
                         int64_t max) {
  const Json* value = Find(object, key);
  if (value == nullptr) return fallback;
  return ToInt(*value, key, min, max);
}

Result<double> GetDoubleOr(const Json& object, std::string_view key, double fallback) {
  const Json* value = Find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return WrongType(key, *value, "a number");
  return value->get<double>();
}

Result<bool> GetBoolOr(const Json& object, std::string_view key, bool fallback) {
  const Json* value = Find(object, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return WrongType(key, *value, "true or false");
  return value->get<bool>();
}

Result<std::string> GetString(const Json& object, std::string_view key) {
  const Json* value = Find(object, key);
  if (value == nullptr) return Missing(key);
  if (!value->is_string()) return WrongType(key, *value, "a string");
  return value->get<std::string>();
}

Result<std::string> GetStringOr(const Json& object, std::string_view key, std::string fallback) {
  if (Find(object, key) == nullptr) return fallback;
  return GetString(object, key);
}

}  // namespace octavo
