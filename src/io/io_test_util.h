// SPDX-License-Identifier: Apache-2.0
// Helpers of the io tests: temporary folders, places of real models, and small files built in
// memory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::testing {

// A folder that disappears with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "octavo-io-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The folder of real models (OCTAVO_MODELS, else ~/.cache/octavo-models).
inline std::string ModelsFolder() {
  if (const char* folder = std::getenv("OCTAVO_MODELS")) return folder;
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : ".") + "/.cache/octavo-models";
}

// `text` as a safetensors file: length prefix, header, data.
inline std::string SafetensorsFile(std::string_view header, std::string_view data) {
  std::string file(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(file.data(), &size, sizeof size);
  return file.append(header).append(data);
}

// Appends GGUF primitives to a string.
class GgufBuilder {
 public:
  template <typename T>
  GgufBuilder& Put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& Raw(std::string_view bytes) {
    text_ += bytes;
    return *this;
  }
  GgufBuilder& String(std::string_view value) { return Put(uint64_t{value.size()}).Raw(value); }
  GgufBuilder& Header(uint64_t num_tensors, uint64_t num_keys, uint32_t version = 3) {
    return Raw("GGUF").Put(version).Put(num_tensors).Put(num_keys);
  }
  GgufBuilder& KeyString(std::string_view key, std::string_view value) {
    return String(key).Put(uint32_t{8}).String(value);
  }
  GgufBuilder& KeyU32(std::string_view key, uint32_t value) {
    return String(key).Put(uint32_t{4}).Put(value);
  }
  GgufBuilder& KeyF32(std::string_view key, float value) {
    return String(key).Put(uint32_t{6}).Put(value);
  }
  // `dims` innermost first, as in the file.
  GgufBuilder& Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset) {
    String(name).Put(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(dim);
    return Put(type).Put(offset);
  }
  GgufBuilder& Pad(size_t alignment = 32) {
    text_.resize((text_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace octavo::testing
