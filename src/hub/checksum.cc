// SPDX-License-Identifier: Apache-2.0
// SHA-1 and SHA-256 over files, with OpenSSL.
#include "hub/checksum.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "base/file.h"

namespace octavo::hub {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

struct Closer {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Feeds the rest of `fd` to `context`.
Status HashContent(int fd, const std::string& path, EVP_MD_CTX* context) {
  std::vector<char> chunk(kChunkBytes);
  while (true) {
    const ssize_t count = ::read(fd, chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(path, "read");
    if (count == 0) return Status::Ok();
    if (EVP_DigestUpdate(context, chunk.data(), static_cast<size_t>(count)) != 1) {
      return Internal("OpenSSL: digest failed");
    }
  }
}

Result<std::string> HashOpen(int fd, const std::string& path, bool large) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return ErrnoStatus(path, "stat");
  const std::unique_ptr<EVP_MD_CTX, Closer> context(EVP_MD_CTX_new());
  if (context == nullptr ||
      EVP_DigestInit_ex(context.get(), large ? EVP_sha256() : EVP_sha1(), nullptr) != 1) {
    return Internal("OpenSSL: no digest");
  }
  if (!large) {
    const std::string prefix = fmt::format("blob {}", info.st_size);
    EVP_DigestUpdate(context.get(), prefix.c_str(), prefix.size() + 1);  // with the zero
  }
  OCTAVO_RETURN_IF_ERROR(HashContent(fd, path, context.get()));
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1) {
    return Internal("OpenSSL: digest failed");
  }
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace

Result<std::string> HashFile(const std::string& path, bool large) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(path, "open");
  return HashOpen(file.get(), path, large);
}

Status VerifyFile(const std::string& path, const RepoFile& file) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string hash, HashFile(path, file.large));
  if (hash == file.hash) return Status::Ok();
  return DataLoss(
      fmt::format("{}: checksum {} of what arrived, want {}", file.path, hash, file.hash));
}

}  // namespace octavo::hub
