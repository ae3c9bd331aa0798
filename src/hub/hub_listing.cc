// SPDX-License-Identifier: Apache-2.0
// Bounded parsing of the hub's JSON.
#include "hub/hub_listing.h"

#include <fmt/format.h>

#include <utility>

#include "base/json.h"
#include "hub/hub_name.h"

namespace octavo::hub {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 50;
constexpr int kMaxDepth = 32;

Result<Json> ParseAnswer(std::string_view text) {
  auto json = ParseJson(text, {.max_bytes = kMaxListingBytes, .max_depth = kMaxDepth});
  if (!json.ok()) return DataLoss("the hub's answer is no JSON: " + json.status().message());
  return json;
}

bool IsHash(std::string_view text, size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The size and the checksum, from "lfs" where the entry has one (its own "oid" is the pointer's).
Status ParseContent(const Json& entry, RepoFile& file) {
  const Json* lfs = Find(entry, "lfs");
  file.large = lfs != nullptr;
  const Json& source = file.large ? *lfs : entry;
  OCTAVO_ASSIGN_OR_RETURN(const int64_t size, GetInt(source, "size", 0, kMaxFileBytes));
  OCTAVO_ASSIGN_OR_RETURN(file.hash, GetString(source, "oid"));
  if (file.hash.starts_with("sha256:")) file.hash.erase(0, 7);
  if (!IsHash(file.hash, file.large ? 64 : 40)) {
    return DataLoss(fmt::format("oid '{}', want {} hexadecimal digits", file.hash.substr(0, 80),
                                file.large ? 64 : 40));
  }
  file.size = static_cast<uint64_t>(size);
  return Status::Ok();
}

Result<RepoFile> ParseFile(const Json& entry) {
  RepoFile file;
  OCTAVO_ASSIGN_OR_RETURN(file.path, GetString(entry, "path"));
  OCTAVO_RETURN_IF_ERROR(CheckRelativePath(file.path));
  OCTAVO_RETURN_IF_ERROR(ParseContent(entry, file).WithContext(file.path));
  return file;
}

}  // namespace

Result<std::string> ParseCommit(std::string_view json_text) {
  OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseAnswer(json_text));
  auto sha = GetString(json, "sha");
  if (!sha.ok() || !IsCommit(*sha)) {
    return DataLoss("the hub's answer has no commit ('sha' of 40 hexadecimal digits)");
  }
  return sha;
}

Status ParseTreePage(std::string_view json_text, std::vector<RepoFile>& files) {
  OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseAnswer(json_text));
  if (!json.is_array()) return DataLoss("the hub's list of files is no array");
  for (const Json& entry : json) {
    const Json* type = Find(entry, "type");
    if (type != nullptr && *type == "directory") continue;
    auto file = ParseFile(entry);
    if (!file.ok()) return DataLoss("the hub's list of files: " + file.status().message());
    if (files.size() >= kMaxRepoFiles) {
      return ResourceExhausted(fmt::format("the repository has over {} files", kMaxRepoFiles));
    }
    files.push_back(std::move(file).value());
  }
  return Status::Ok();
}

std::string NextPage(std::string_view link_header) {
  // <https://...?cursor=...>; rel="next", <...>; rel="..."
  while (true) {
    const size_t open = link_header.find('<');
    const size_t close = link_header.find('>', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos) return "";
    const std::string_view address = link_header.substr(open + 1, close - open - 1);
    link_header.remove_prefix(close + 1);
    const std::string_view parameters = link_header.substr(0, link_header.find('<'));
    if (parameters.find("rel=\"next\"") != std::string_view::npos) return std::string(address);
  }
}

}  // namespace octavo::hub
