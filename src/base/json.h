// SPDX-License-Identifier: Apache-2.0
// Bounded JSON parsing and typed field access with errors that name the field.
//
// nlohmann::ordered_json keeps key order, so a config that is read and written keeps its shape.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "octavo/status.h"

namespace octavo {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 64;
  bool reject_duplicate_keys = false;
};

// Parses strict JSON (UTF-8, one value, only white space around it). Never throws; a document that
// is deeper or longer than the limits is an error before it costs memory.
Result<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});

// Reads a whole file and parses it; the error names the file.
Result<Json> ParseJsonFile(const std::string& path, const JsonLimits& limits = {});

// Serializes; invalid UTF-8 in strings is replaced by U+FFFD. indent < 0: one line.
std::string DumpJson(const Json& json, int indent = -1);

// Field access. `Get*` fails when the key is absent, null or of the wrong type; `Get*Or` returns the
// fallback when absent or null, and still fails on a wrong type. Integers must lie in [min, max].
Result<int64_t> GetInt(const Json& object, std::string_view key,
                       int64_t min = std::numeric_limits<int64_t>::min(),
                       int64_t max = std::numeric_limits<int64_t>::max());
Result<int64_t> GetIntOr(const Json& object, std::string_view key, int64_t fallback,
                         int64_t min = std::numeric_limits<int64_t>::min(),
                         int64_t max = std::numeric_limits<int64_t>::max());
Result<double> GetDoubleOr(const Json& object, std::string_view key, double fallback);
Result<bool> GetBoolOr(const Json& object, std::string_view key, bool fallback);
Result<std::string> GetString(const Json& object, std::string_view key);
Result<std::string> GetStringOr(const Json& object, std::string_view key, std::string fallback);

// The member, or nullptr when absent, null, or `object` is no object.
const Json* Find(const Json& object, std::string_view key);

}  // namespace octavo
