// SPDX-License-Identifier: Apache-2.0
// What the hub's API answers about a repository, checked before anything is done with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo::hub {

// One file of a commit. `hash` names its blob in the cache.
struct RepoFile {
  std::string path = {};  // relative; CheckRelativePath holds
  uint64_t size = 0;      // bytes
  bool large = false;  // hash is the SHA-256 of the content; else the SHA-1 that git gives its blob
  std::string hash = {};  // 64 or 40 lower-case hexadecimal digits
};

inline constexpr size_t kMaxListingBytes = size_t{32} << 20;  // of one answer
inline constexpr size_t kMaxRepoFiles = 100'000;

// The commit that /api/models/ORG/NAME/revision/REV names. DataLoss for anything that is no such
// answer.
Result<std::string> ParseCommit(std::string_view json_text);

// Appends the files of one page of /api/models/ORG/NAME/tree/COMMIT?recursive=1. DataLoss names the
// entry: a path that would leave the folder, a size or hash that is none, too many files.
Status ParseTreePage(std::string_view json_text, std::vector<RepoFile>& files);

// The address of the next page in a Link header (RFC 8288), or empty.
std::string NextPage(std::string_view link_header);

}  // namespace octavo::hub
