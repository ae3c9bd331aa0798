// SPDX-License-Identifier: Apache-2.0
// Fetches one file's content into the cache: in parallel parts, resumed, checked.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "hub/http_client.h"
#include "hub/hub_cache.h"
#include "hub/hub_listing.h"
#include "octavo/status.h"

namespace octavo::hub {

struct BlobSource {
  std::string url;
  std::string token;  // for the host of `url`
  int timeout_s = 30;
};

// What a download reports and obeys; all members may be empty. Callbacks come from several threads.
struct DownloadHooks {
  std::function<void(int64_t bytes)> on_bytes;  // newly there; negative: lost again
  std::function<void(const std::string& line)> log;
  const std::atomic<bool>* cancel = nullptr;
};

inline constexpr uint64_t kPartBytes = uint64_t{32} << 20;
inline constexpr int kConnections = 4;  // per file

// What an answer that is neither a success nor worth another try means; `what` is what was asked
// for. Names the remedy where there is one: a token, access to a gated repository, the right name.
Status ExplainReply(const HttpReply& reply, const std::string& what, bool has_token);

// Fetches `file` into `cache` unless it is there. One process at a time fetches a blob; what
// another one, or an interrupted run, left behind is used. A wrong checksum deletes the bytes; the
// second one is DataLoss. The blob appears whole or not at all.
Status DownloadBlob(const RepoCache& cache, const RepoFile& file, const BlobSource& source,
                    const DownloadHooks& hooks);

}  // namespace octavo::hub
