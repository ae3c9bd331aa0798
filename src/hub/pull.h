// SPDX-License-Identifier: Apache-2.0
// A model from the hub as a folder on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "hub/blob_download.h"
#include "hub/file_selection.h"
#include "hub/hub_name.h"
#include "hub/hub_settings.h"
#include "octavo/status.h"

namespace octavo::hub {

struct PullHooks {
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // from several threads
  std::function<void(const std::string& line)> log;
  const std::atomic<bool>* cancel = nullptr;
};

struct Pulled {
  std::string path;  // the snapshot's folder, or the file in it that the name asked for
  std::string commit;
  size_t num_files = 0;
  uint64_t total_bytes = 0;    // of the selected files
  uint64_t fetched_bytes = 0;  // of those, what was not in the cache
};

// Brings the selected files of `name` into the cache and links them in the snapshot of the commit
// that the revision names now. The ref is written last: until then the revision names the snapshot
// it named before. Interrupted or failed, the next call goes on. Errors say what is wrong and what
// to do: no such model or revision, no access, no space, no network, offline.
Result<Pulled> Pull(const HubName& name, const FileFilter& filter, const HubSettings& settings,
                    const PullHooks& hooks);

// The path that Pull would return, from the cache alone; NotFound unless all of the model, or the
// file, is there.
Result<std::string> FindCached(const HubName& name, const HubSettings& settings);

}  // namespace octavo::hub
