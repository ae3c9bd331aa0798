// SPDX-License-Identifier: Apache-2.0
// Parsing and checking of everything that a user or a server may name.
#include "hub/hub_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace octavo::hub {
namespace {

constexpr size_t kMaxNameBytes = 96;  // the hub's own limit
constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxComponentBytes = 255;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The hub's rule for organizations and names.
bool IsNamePart(std::string_view part) {
  if (part.empty() || part.size() > kMaxNameBytes) return false;
  const auto inner = [](char c) { return IsAlphanumeric(c) || c == '_' || c == '-' || c == '.'; };
  if (!std::all_of(part.begin(), part.end(), inner)) return false;
  const auto edge = [](char c) { return c != '-' && c != '.'; };
  return edge(part.front()) && edge(part.back()) && part.find("--") == std::string_view::npos &&
         part.find("..") == std::string_view::npos;
}

// Input that is shown in an error, short and printable.
std::string Quote(std::string_view text) {
  std::string shown(text.substr(0, 120));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return "'" + shown + "'";
}

}  // namespace

std::string HubName::ToString() const {
  std::string text = repository;
  if (revision != kDefaultRevision) text += "@" + revision;
  if (!file.empty()) text += ":" + file;
  return text;
}

Result<HubName> ParseHubName(std::string_view text) {
  HubName name;
  const std::string_view whole = text;
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    name.file = text.substr(colon + 1);
    OCTAVO_RETURN_IF_ERROR(CheckRelativePath(name.file));
    text = text.substr(0, colon);
  }
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    name.revision = text.substr(at + 1);
    OCTAVO_RETURN_IF_ERROR(CheckRevision(name.revision));
    text = text.substr(0, at);
  }
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || !IsNamePart(text.substr(0, slash)) ||
      !IsNamePart(text.substr(slash + 1))) {
    return InvalidArgument(fmt::format(
        "hub name {}, want ORG/NAME[@REVISION][:FILE] of letters, digits, '-', '_' and '.'",
        Quote(whole)));
  }
  name.repository = text;
  return name;
}

bool LooksLikeHubName(std::string_view text) {
  const auto name = ParseHubName(text);
  if (!name.ok()) return false;
  constexpr std::array<std::string_view, 4> kFileEndings = {".gguf", ".json", ".safetensors",
                                                            ".txt"};
  return std::none_of(kFileEndings.begin(), kFileEndings.end(),
                      [&](std::string_view end) { return name->repository.ends_with(end); });
}

Status CheckRevision(std::string_view revision) {
  const auto allowed = [](char c) {
    return IsAlphanumeric(c) || std::string_view("._-/+").find(c) != std::string_view::npos;
  };
  if (!CheckRelativePath(revision).ok() ||
      !std::all_of(revision.begin(), revision.end(), allowed)) {
    return InvalidArgument(
        fmt::format("revision {}, want a branch, a tag or a commit", Quote(revision)));
  }
  return Status::Ok();
}

Status CheckRelativePath(std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return InvalidArgument(fmt::format("file name {}: {}", Quote(path), why));
  };
  if (path.empty() || path.size() > kMaxPathBytes) return refuse("is empty or too long");
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '\\') return refuse("has a forbidden character");
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") {
      return refuse("would leave its folder");
    }
    if (component.size() > kMaxComponentBytes) return refuse("is too long");
    begin = end + 1;
  }
  return Status::Ok();
}

bool IsCommit(std::string_view revision) {
  return revision.size() == 40 &&
         revision.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace octavo::hub
