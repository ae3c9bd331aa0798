// SPDX-License-Identifier: Apache-2.0
// The key-value part of a GGUF file, with typed access that names the key in every error.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo {

// Numbers as in the files.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
inline constexpr uint32_t kNumGgufTypes = 13;

std::string_view GgufTypeName(GgufType type);
// Bytes of a fixed-size type; 0 for kString and kArray.
uint64_t GgufTypeBytes(GgufType type);

// A scalar, or an array of scalars. Kept as it lies in the file, so that a hostile file cannot make
// it much larger in memory: fixed-size elements back to back in `bytes`; strings back to back,
// string i ending at ends[i].
struct GgufValue {
  GgufType type = GgufType::kU8;  // Of the elements; never kArray.
  bool is_array = false;
  uint64_t count = 1;
  std::string bytes;
  std::vector<uint64_t> ends;

  // "STRING[49152]", for messages.
  std::string TypeString() const;
  // Element `i`; the type must be kString.
  std::string_view StringAt(uint64_t i) const;
  // Element `i` of a number or bool, converted; large u64 values saturate in IntAt.
  int64_t IntAt(uint64_t i) const;
  double DoubleAt(uint64_t i) const;
  bool is_integer() const;
};

// Getters: NotFound when the key is absent (the "Or" forms return the fallback), InvalidArgument
// when its type does not fit. Any integer width serves as an integer, any number as a double.
class GgufMetadata {
 public:
  // False when the key is there already.
  bool Insert(std::string key, GgufValue value);

  // nullptr when absent.
  const GgufValue* Find(std::string_view key) const;
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

  Result<int64_t> GetInt(std::string_view key) const;
  Result<int64_t> GetIntOr(std::string_view key, int64_t fallback) const;
  Result<double> GetDoubleOr(std::string_view key, double fallback) const;
  Result<bool> GetBoolOr(std::string_view key, bool fallback) const;
  Result<std::string> GetString(std::string_view key) const;
  Result<std::string> GetStringOr(std::string_view key, std::string fallback) const;
  // Arrays; an absent key gives an empty vector.
  Result<std::vector<std::string>> GetStrings(std::string_view key) const;
  Result<std::vector<int64_t>> GetInts(std::string_view key) const;
  Result<std::vector<float>> GetFloats(std::string_view key) const;

 private:
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace octavo
