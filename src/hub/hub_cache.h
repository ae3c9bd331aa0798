// SPDX-License-Identifier: Apache-2.0
// A repository's folder in the cache, in the layout that Hugging Face's libraries share:
//
//   <cache>/models--ORG--NAME/blobs/<hash>              content, named by RepoFile::hash
//                            /snapshots/<commit>/<path> links to blobs
//                            /refs/<revision>           the commit that a branch or tag names
//   <cache>/.locks/models--ORG--NAME/<hash>.lock        held while a blob is fetched
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/file.h"
#include "hub/hub_listing.h"
#include "octavo/status.h"

namespace octavo::hub {

class RepoCache {
 public:
  // `repository`: a checked "ORG/NAME".
  RepoCache(std::string cache_dir, const std::string& repository);

  const std::string& folder() const { return folder_; }
  std::string BlobPath(const std::string& hash) const { return folder_ + "/blobs/" + hash; }
  std::string SnapshotPath(const std::string& commit) const {
    return folder_ + "/snapshots/" + commit;
  }

  // The commit of `revision` as far as the cache knows: itself when it is one. NotFound otherwise.
  Result<std::string> ReadRef(const std::string& revision) const;
  Status WriteRef(const std::string& revision, const std::string& commit) const;

  // Makes the folders for blobs and locks.
  Status Create() const;

  // Whether the blob is there, of the right size.
  bool HasBlob(const RepoFile& file) const;

  // Makes snapshots/<commit>/<path> a link to the file's blob, replacing what is there.
  Status Link(const std::string& commit, const RepoFile& file) const;

  // Waits until no other process fetches this blob; the descriptor holds the lock. Huggingface_hub
  // takes the same one. Cancelled when `cancel` (may be null) is set meanwhile.
  Result<FileDescriptor> LockBlob(const std::string& hash, const std::atomic<bool>* cancel) const;

 private:
  std::string folder_;
  std::string locks_;
};

// Whether a snapshot holds a model that can run: config.json, every weight shard, and a tokenizer.
bool IsCompleteModel(const std::string& snapshot);

}  // namespace octavo::hub
