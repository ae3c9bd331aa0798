// SPDX-License-Identifier: Apache-2.0
// Models by their hub names, in every command that takes a model.
#pragma once

#include <string>

#include "hub/pull.h"
#include "octavo/status.h"

namespace octavo {

// `model` itself when it is a path or cannot be a hub name; else the path of what the name stands
// for: from the cache without a look at the network, else fetched, with a progress bar. Must not be
// called while an InterruptScope lives. Errors say that there is no such path, and what the hub
// said.
Result<std::string> ResolveModel(const std::string& model);

// hub::Pull with a progress bar, notices on standard error, and Ctrl-C.
Result<hub::Pulled> PullWithProgress(const hub::HubName& name, const hub::FileFilter& filter,
                                     const hub::HubSettings& settings);

}  // namespace octavo
