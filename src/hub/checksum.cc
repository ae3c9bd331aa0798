// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files, and git's SHA-1 of blobs.
#include "hub/checksum.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/digest.h"

namespace octavo::hub {

Result<std::string> HashFile(const std::string& path, bool large) {
  if (large) return Sha256OfFile(path);
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return IoError(fmt::format("{}: stat failed: {}", path, error.message()));
  OCTAVO_ASSIGN_OR_RETURN(Digest digest, Digest::Create(Digest::Kind::kSha1));
  const std::string prefix = fmt::format("blob {}", size);
  OCTAVO_RETURN_IF_ERROR(digest.Add(prefix.c_str(), prefix.size() + 1));  // with the zero
  OCTAVO_RETURN_IF_ERROR(digest.AddFile(path));
  return digest.Hex();
}

Status VerifyFile(const std::string& path, const RepoFile& file) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string hash, HashFile(path, file.large));
  if (hash == file.hash) return Status::Ok();
  return DataLoss(
      fmt::format("{}: checksum {} of what arrived, want {}", file.path, hash, file.hash));
}

}  // namespace octavo::hub
