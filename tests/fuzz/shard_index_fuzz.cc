// SPDX-License-Identifier: Apache-2.0
// Fuzz target: model.safetensors.index.json, beside two small shards and a file outside the folder.
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "io/shard_index.h"

namespace {

namespace fs = std::filesystem;

void WriteText(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.good()) std::abort();
}

std::string ShardOf(std::string_view tensor) {
  const std::string header =
      "{\"" + std::string(tensor) + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  std::string length(8, '\0');
  length[0] = static_cast<char>(header.size());
  return length + header + std::string(4, '\0');
}

// The folder with the shards, in memory where the system has a place for that; gone at exit.
class Folder {
 public:
  Folder() {
    std::error_code error;
    std::string name = fs::is_directory("/dev/shm", error) ? "/dev/shm" : fs::temp_directory_path();
    name += "/shard_index_fuzz_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    root_ = name;
    fs::create_directory(model());
    WriteText(model() / "a.safetensors", ShardOf("a"));
    WriteText(model() / "b.safetensors", ShardOf("b"));
    WriteText(root_ / "outside.safetensors", ShardOf("c"));
    fs::create_symlink(root_ / "outside.safetensors", model() / "link.safetensors");
  }
  ~Folder() {
    std::error_code error;
    fs::remove_all(root_, error);
  }
  fs::path model() const { return root_ / "model"; }

 private:
  fs::path root_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  static const Folder folder;
  WriteText(folder.model() / kShardIndexName, {reinterpret_cast<const char*>(data), size});
  const auto readers = OpenShards(folder.model());
  if (!readers.ok()) return 0;
  for (const auto& reader : *readers) {
    const std::string name = fs::path(reader->file().path()).filename();
    if (name != "a.safetensors" && name != "b.safetensors") std::abort();
  }
  return 0;
}
