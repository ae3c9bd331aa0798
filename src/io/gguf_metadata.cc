// SPDX-License-Identifier: Apache-2.0
// Typed access to GGUF values.
#include "io/gguf_metadata.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <limits>

namespace octavo {
namespace {

struct TypeRow {
  std::string_view name;
  uint64_t bytes;
};
constexpr std::array<TypeRow, kNumGgufTypes> kTypes = {{
    {"UINT8", 1},
    {"INT8", 1},
    {"UINT16", 2},
    {"INT16", 2},
    {"UINT32", 4},
    {"INT32", 4},
    {"FLOAT32", 4},
    {"BOOL", 1},
    {"STRING", 0},
    {"ARRAY", 0},
    {"UINT64", 8},
    {"INT64", 8},
    {"FLOAT64", 8},
}};

template <typename T>
T Load(const std::string& bytes, uint64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

Status Missing(std::string_view key) {
  return NotFound(fmt::format("metadata '{}' is missing", key));
}

Status WrongType(std::string_view key, const GgufValue& value, std::string_view want) {
  return InvalidArgument(
      fmt::format("metadata '{}' is {}, want {}", key, value.TypeString(), want));
}

}  // namespace

std::string_view GgufTypeName(GgufType type) { return kTypes[static_cast<size_t>(type)].name; }

uint64_t GgufTypeBytes(GgufType type) { return kTypes[static_cast<size_t>(type)].bytes; }

std::string GgufValue::TypeString() const {
  const std::string_view name = GgufTypeName(type);
  return is_array ? fmt::format("{}[{}]", name, count) : std::string(name);
}

std::string_view GgufValue::StringAt(uint64_t i) const {
  const uint64_t begin = i == 0 ? 0 : ends[i - 1];
  return std::string_view(bytes).substr(begin, ends[i] - begin);
}

int64_t GgufValue::IntAt(uint64_t i) const {
  switch (type) {
    case GgufType::kU8:
      return Load<uint8_t>(bytes, i);
    case GgufType::kI8:
      return Load<int8_t>(bytes, i);
    case GgufType::kU16:
      return Load<uint16_t>(bytes, i);
    case GgufType::kI16:
      return Load<int16_t>(bytes, i);
    case GgufType::kU32:
      return Load<uint32_t>(bytes, i);
    case GgufType::kI32:
      return Load<int32_t>(bytes, i);
    case GgufType::kI64:
      return Load<int64_t>(bytes, i);
    case GgufType::kBool:
      return Load<uint8_t>(bytes, i);
    case GgufType::kU64: {
      constexpr auto kMax = std::numeric_limits<int64_t>::max();
      const uint64_t value = Load<uint64_t>(bytes, i);
      return value > static_cast<uint64_t>(kMax) ? kMax : static_cast<int64_t>(value);
    }
    default:
      return 0;
  }
}

double GgufValue::DoubleAt(uint64_t i) const {
  if (type == GgufType::kF32) return static_cast<double>(Load<float>(bytes, i));
  if (type == GgufType::kF64) return Load<double>(bytes, i);
  return static_cast<double>(IntAt(i));
}

bool GgufValue::is_integer() const {
  return type != GgufType::kF32 && type != GgufType::kF64 && type != GgufType::kBool &&
         type != GgufType::kString;
}

bool GgufMetadata::Insert(std::string key, GgufValue value) {
  return values_.emplace(std::move(key), std::move(value)).second;
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

Result<int64_t> GgufMetadata::GetInt(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (value->is_array || !value->is_integer()) return WrongType(key, *value, "an integer");
  return value->IntAt(0);
}

Result<int64_t> GgufMetadata::GetIntOr(std::string_view key, int64_t fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetInt(key);
}

Result<double> GgufMetadata::GetDoubleOr(std::string_view key, double fallback) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_array || value->type == GgufType::kString || value->type == GgufType::kBool) {
    return WrongType(key, *value, "a number");
  }
  return value->DoubleAt(0);
}

Result<bool> GgufMetadata::GetBoolOr(std::string_view key, bool fallback) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_array || value->type != GgufType::kBool) return WrongType(key, *value, "BOOL");
  return value->IntAt(0) != 0;
}

Result<std::string> GgufMetadata::GetString(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (value->is_array || value->type != GgufType::kString) return WrongType(key, *value, "STRING");
  return std::string(value->StringAt(0));
}

Result<std::string> GgufMetadata::GetStringOr(std::string_view key, std::string fallback) const {
  if (Find(key) == nullptr) return fallback;
  return GetString(key);
}

Result<std::vector<std::string>> GgufMetadata::GetStrings(std::string_view key) const {
  std::vector<std::string> result;
  const GgufValue* value = Find(key);
  if (value == nullptr) return result;
  if (!value->is_array || value->type != GgufType::kString)
    return WrongType(key, *value, "STRING[]");
  result.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) result.emplace_back(value->StringAt(i));
  return result;
}

Result<std::vector<int64_t>> GgufMetadata::GetInts(std::string_view key) const {
  std::vector<int64_t> result;
  const GgufValue* value = Find(key);
  if (value == nullptr) return result;
  if (!value->is_array || !value->is_integer())
    return WrongType(key, *value, "an array of integers");
  result.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) result.push_back(value->IntAt(i));
  return result;
}

Result<std::vector<float>> GgufMetadata::GetFloats(std::string_view key) const {
  std::vector<float> result;
  const GgufValue* value = Find(key);
  if (value == nullptr) return result;
  if (!value->is_array || value->type != GgufType::kF32) return WrongType(key, *value, "FLOAT32[]");
  result.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i)
    result.push_back(static_cast<float>(value->DoubleAt(i)));
  return result;
}

}  // namespace octavo
