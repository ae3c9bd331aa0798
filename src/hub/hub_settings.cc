// SPDX-License-Identifier: Apache-2.0
// Reading the environment.
#include "hub/hub_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "base/file.h"

namespace octavo::hub {
namespace {

constexpr std::string_view kPublicHub = "https://huggingface.co";
constexpr size_t kMaxTokenBytes = 4096;
constexpr int kMaxTimeoutSeconds = 3600;

// The first variable that is set and not empty.
std::string FirstOf(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

bool IsTrue(const char* name) {
  std::string value = FirstOf({name});
  std::transform(value.begin(), value.end(), value.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return value == "1" || value == "true" || value == "yes" || value == "on";
}

std::string ExpandHome(std::string path) {
  if (path == "~" || path.starts_with("~/")) path.replace(0, 1, FirstOf({"HOME"}));
  return path;
}

std::string HubHome() {
  std::string home = FirstOf({"HF_HOME"});
  if (!home.empty()) return ExpandHome(home);
  const std::string cache = FirstOf({"XDG_CACHE_HOME"});
  return ExpandHome(cache.empty() ? "~/.cache" : cache) + "/huggingface";
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string FindToken() {
  const std::string token = FirstOf({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
  if (!token.empty()) return std::string(Trim(token));
  if (IsTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return "";
  const std::string path = FirstOf({"HF_TOKEN_PATH"});
  const auto file =
      ReadFile(path.empty() ? HubHome() + "/token" : ExpandHome(path), kMaxTokenBytes);
  return file.ok() ? std::string(Trim(*file)) : "";
}

}  // namespace

Result<HubSettings> HubSettings::FromEnvironment() {
  HubSettings settings;
  settings.endpoint = FirstOf({"OCTAVO_HUB_URL", "HF_ENDPOINT"});
  if (settings.endpoint.empty()) settings.endpoint = kPublicHub;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  if (!settings.endpoint.starts_with("https://") && !settings.endpoint.starts_with("http://")) {
    return InvalidArgument(fmt::format(
        "hub address '{}' (OCTAVO_HUB_URL or HF_ENDPOINT), want https://HOST", settings.endpoint));
  }
  settings.cache_dir = ExpandHome(FirstOf({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}));
  if (settings.cache_dir.empty()) settings.cache_dir = HubHome() + "/hub";
  settings.token = FindToken();
  OCTAVO_RETURN_IF_ERROR(CheckToken(settings.token));
  settings.offline =
      IsTrue("OCTAVO_OFFLINE") || IsTrue("HF_HUB_OFFLINE") || IsTrue("TRANSFORMERS_OFFLINE");
  const std::string timeout = FirstOf({"HF_HUB_DOWNLOAD_TIMEOUT"});
  int seconds = 0;
  std::from_chars(timeout.data(), timeout.data() + timeout.size(), seconds);
  if (seconds > 0) settings.timeout_s = std::min(seconds, kMaxTimeoutSeconds);
  return settings;
}

Status HubSettings::CheckToken(const std::string& token) {
  const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
  if (token.size() <= kMaxTokenBytes && std::all_of(token.begin(), token.end(), printable)) {
    return Status::Ok();
  }
  return InvalidArgument("hub token: has blanks or characters that no token has");
}

}  // namespace octavo::hub
