// SPDX-License-Identifier: Apache-2.0
// From hub names to paths.
#include "cli/hub_model.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <utility>

#include "cli/interrupt.h"
#include "cli/progress_bar.h"

namespace octavo {

Result<hub::Pulled> PullWithProgress(const hub::HubName& name, const hub::FileFilter& filter,
                                     const hub::HubSettings& settings) {
  const InterruptScope interrupt;
  ProgressBar bar({.label = "pull", .unit = ProgressBar::Unit::kBytes});
  hub::PullHooks hooks;
  hooks.progress = [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); };
  hooks.log = [](const std::string& line) { fmt::print(stderr, "octavo: warning: {}\n", line); };
  hooks.cancel = &interrupt.flag();
  return hub::Pull(name, filter, settings, hooks);
}

Result<std::string> ResolveModel(const std::string& model) {
  std::error_code error;
  if (std::filesystem::exists(model, error) || !hub::LooksLikeHubName(model)) return model;
  OCTAVO_ASSIGN_OR_RETURN(const hub::HubName name, hub::ParseHubName(model));
  OCTAVO_ASSIGN_OR_RETURN(const hub::HubSettings settings, hub::HubSettings::FromEnvironment());
  auto cached = hub::FindCached(name, settings);
  if (cached.ok()) return cached;
  if (!settings.offline) {
    fmt::print(stderr, "octavo: fetching {} from {}\n", name.ToString(), settings.endpoint);
  }
  auto pulled = PullWithProgress(name, {}, settings);
  if (pulled.ok()) return std::move(pulled->path);
  const Status& status = pulled.status();
  if (status.code() == StatusCode::kCancelled) return status;
  return Status(status.code(), fmt::format("{}: no such file or folder, and as a hub name: {}",
                                           model, status.message()));
}

}  // namespace octavo
