// SPDX-License-Identifier: Apache-2.0
// A file that is being fetched in parts, and the note beside it of how much of each part it has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "octavo/status.h"

namespace octavo::hub {

// Beside PATH lies PATH.parts: u64 values, little-endian: file size, part size, then the bytes
// written of each part. A part's bytes are written before they are noted, so a process that dies
// leaves a note that is true; after a power failure the checksum decides. Different parts may be
// written from different threads.
class PartLedger {
 public:
  // Opens or starts PATH of `size` > 0 bytes; an existing one goes on if its note fits. Reserves
  // the space: ResourceExhausted when the disk has less.
  static Result<std::unique_ptr<PartLedger>> Open(const std::string& path, uint64_t size,
                                                  uint64_t part_bytes);

  size_t num_parts() const { return done_.size(); }
  uint64_t size() const { return size_; }
  uint64_t begin(size_t part) const { return part * part_bytes_; }
  uint64_t part_size(size_t part) const;
  uint64_t done(size_t part) const { return done_[part]; }
  bool complete(size_t part) const { return done(part) == part_size(part); }
  uint64_t total_done() const;

  // Appends to a part. Requires: bytes fit in it.
  Status Write(size_t part, std::string_view bytes);
  Status Reset(size_t part);

  // Everything on disk under `destination`; the note is gone.
  Status Publish(const std::string& destination);

  static void Remove(const std::string& path);

 private:
  PartLedger(std::string path, uint64_t size, uint64_t part_bytes);
  Status OpenFiles();
  bool ReadNote();
  Status StartAfresh();
  Status Note(size_t part);

  const std::string path_;
  const uint64_t size_;
  const uint64_t part_bytes_;
  FileDescriptor file_;
  FileDescriptor note_;
  std::vector<uint64_t> done_;  // [part]
};

}  // namespace octavo::hub
