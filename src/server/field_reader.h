// SPDX-License-Identifier: Apache-2.0
// Reads the fields of one JSON request object, checks every type and range, and keeps account of
// which fields nobody asked for.
//
// The first problem sticks and later reads return nothing, so a parser reads all its fields in a row
// and looks at error() once:
//   FieldReader reader(body);
//   if (auto t = reader.Number("temperature", 0, 100)) params.temperature = *t;
//   if (reader.error()) return *reader.error();
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/api_error.h"

namespace octavo::server {

class FieldReader {
 public:
  // `object` must be a JSON object (checked; else error()) and outlive the reader.
  explicit FieldReader(const Json& object);

  // The member of any type; nullptr when absent or null.
  const Json* Value(std::string_view key);

  // Nothing when absent, null or wrong; wrong sets error(). Bounds are inclusive. Numbers such as
  // 3.0 are integers too, as JSON knows only one number type; NaN and infinities cannot be written.
  std::optional<double> Number(std::string_view key, double min, double max);
  std::optional<int64_t> Integer(std::string_view key, int64_t min, int64_t max);
  std::optional<bool> Bool(std::string_view key);
  std::optional<std::string> String(std::string_view key, size_t max_bytes);
  // An array of integers, each within bounds.
  std::optional<std::vector<int32_t>> Ids(std::string_view key, size_t max_count);

  // Fields of the protocol that this server does not implement: an error if present with anything
  // but null or one of the values that ask for nothing.
  void Unsupported(std::string_view key, std::initializer_list<Json> neutral = {});
  // Fields that have no effect by design (for example "user").
  void Accept(std::initializer_list<std::string_view> keys);

  void Fail(std::string_view key, std::string message);
  const std::optional<ApiError>& error() const { return error_; }

  // Names in the object that none of the calls above mentioned.
  std::vector<std::string> UnknownFields() const;

 private:
  const Json& object_;
  std::set<std::string, std::less<>> known_;
  std::optional<ApiError> error_;
};

// The value of `X-Octavo-Ignored-Fields`: names, shortened and made printable; empty if none.
std::string IgnoredFieldsHeader(const std::vector<std::string>& fields);

// Parses a request body: bounded depth and number of values, valid UTF-8, an object at the top.
struct ParsedBody {
  Json json;
  std::optional<ApiError> error;
};
ParsedBody ParseBody(std::string_view body);

}  // namespace octavo::server
