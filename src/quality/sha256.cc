// SPDX-License-Identifier: Apache-2.0
// Hashing by OpenSSL's libcrypto.
#include "quality/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "io/mmap_file.h"

namespace octavo {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{1} << 20;

class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void Add(const void* data, size_t bytes) { EVP_DigestUpdate(context_.get(), data, bytes); }
  std::string Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string Sha256(std::string_view text) {
  Hasher hasher;
  hasher.Add(text.data(), text.size());
  return hasher.Finish();
}

Result<std::string> Sha256OfFile(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const MmapFile file, MmapFile::Open(path));
  Hasher hasher;
  std::vector<std::byte> block(static_cast<size_t>(std::min(kBlockBytes, file.size())));
  for (uint64_t offset = 0; offset < file.size(); offset += kBlockBytes) {
    const uint64_t bytes = std::min(kBlockBytes, file.size() - offset);
    OCTAVO_RETURN_IF_ERROR(file.ReadRange(offset, bytes, block.data()));
    hasher.Add(block.data(), static_cast<size_t>(bytes));
  }
  return hasher.Finish();
}

}  // namespace octavo
