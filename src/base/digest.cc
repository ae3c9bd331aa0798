// SPDX-License-Identifier: Apache-2.0
// Hashing by OpenSSL's libcrypto.
#include "base/digest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/file.h"

namespace octavo {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 20;

Status Failed() { return Internal("OpenSSL: digest failed"); }

}  // namespace

void Digest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Result<Digest> Digest::Create(Kind kind) {
  Digest digest(EVP_MD_CTX_new());
  const EVP_MD* type = kind == Kind::kSha1 ? EVP_sha1() : EVP_sha256();
  if (digest.context_ == nullptr || EVP_DigestInit_ex(digest.context_.get(), type, nullptr) != 1) {
    return Internal("OpenSSL: no digest");
  }
  return digest;
}

Status Digest::Add(const void* data, size_t bytes) {
  return EVP_DigestUpdate(context_.get(), data, bytes) == 1 ? Status::Ok() : Failed();
}

Status Digest::AddFile(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(path, "open");
  std::vector<std::byte> block(kBlockBytes);
  while (true) {
    const ssize_t count = ::read(file.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(path, "read");
    if (count == 0) return Status::Ok();
    OCTAVO_RETURN_IF_ERROR(Add(block.data(), static_cast<size_t>(count)));
  }
}

Result<std::string> Digest::Hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_.get(), digest.data(), &size) != 1) return Failed();
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

Result<std::string> Sha256(std::string_view text) {
  OCTAVO_ASSIGN_OR_RETURN(Digest digest, Digest::Create(Digest::Kind::kSha256));
  OCTAVO_RETURN_IF_ERROR(digest.Add(text.data(), text.size()));
  return digest.Hex();
}

Result<std::string> Sha256OfFile(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(Digest digest, Digest::Create(Digest::Kind::kSha256));
  OCTAVO_RETURN_IF_ERROR(digest.AddFile(path));
  return digest.Hex();
}

}  // namespace octavo
