// SPDX-License-Identifier: Apache-2.0
// Writes one safetensors file: whole or not at all, from any thread, and resumable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/safetensors_header.h"
#include "octavo/dtype.h"
#include "octavo/status.h"
#include "tensor/shape.h"

namespace octavo {

struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

// All tensors are declared first, so the header is known; then their bytes may come in any order
// and from several threads, and Finish() makes the file appear under its name:
//
//   PATH.partial          header + data, preallocated        Finish(): fsync, rename to PATH
//   PATH.partial.journal  fingerprint + names of the tensors whose bytes are safely on disk
//
// A run that is interrupted leaves both when `keep_partial` is set. The next Create() with the same
// tensors, metadata and fingerprint continues: IsComplete() tells which tensors need no work. Any
// difference starts afresh. Without `keep_partial` the destructor removes both.
class SafetensorsWriter {
 public:
  struct Options {
    // "format": "pt" is added in front unless given: Hugging Face readers want it.
    std::vector<std::pair<std::string, std::string>> metadata;
    // Keep an unfinished file and its journal, and continue from one that fits.
    bool keep_partial = false;
    // What the content depends on besides names and shapes (source and recipe hashes). One line.
    std::string fingerprint;
  };

  // Lays the tensors out by element width (wide first), then by name: every tensor is aligned.
  // Errors: InvalidArgument for bad specs, ResourceExhausted when the disk cannot hold the file.
  static Result<std::unique_ptr<SafetensorsWriter>> Create(const std::string& path,
                                                           std::span<const TensorSpec> specs,
                                                           const Options& options);

  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  ~SafetensorsWriter();

  // Writes bytes [offset, offset + data.size()) of a tensor. Any thread; ranges must not overlap
  // between threads. Errors: NotFound, InvalidArgument beyond the tensor's end, IoError,
  // ResourceExhausted (disk full).
  Status WriteAt(std::string_view name, uint64_t offset, std::span<const std::byte> data);

  // All bytes of a tensor at once, then MarkComplete.
  Status WriteTensor(std::string_view name, std::span<const std::byte> data);

  // Declares that all bytes of a tensor were written. Finish() wants it of every tensor. The
  // journal follows in batches, after the data has reached the disk. Any thread.
  Status MarkComplete(std::string_view name);

  // Whether the tensor was marked complete, in this run or in the one being continued.
  bool IsComplete(std::string_view name) const;

  // Syncs the data, then adds everything marked complete to the journal.
  Status Flush();

  // fsync, rename, fsync of the folder; removes the journal. FailedPrecondition names a tensor that
  // is not complete. No call but the destructor may follow.
  Status Finish();

  const std::string& path() const { return path_; }
  // Entries in file order; offsets count from the start of the data part.
  const std::vector<SafetensorsEntry>& tensors() const { return tensors_; }
  uint64_t data_bytes() const { return data_bytes_; }
  // Tensors that the continued run had completed.
  size_t num_resumed() const { return num_resumed_; }

 private:
  SafetensorsWriter() = default;
  // Opens PATH.partial and the journal: continued when they fit `header`, else new.
  Status OpenFiles(const std::string& header);
  Status StartAfresh(const std::string& header);
  // Marks what the journal lists; false when the files on disk belong to something else.
  bool TryResume(const std::string& header);
  Status FlushLocked();
  Result<size_t> IndexOf(std::string_view name) const;
  std::string JournalHead(const std::string& header) const;

  std::string path_;
  std::string partial_path_;
  std::string journal_path_;
  Options options_;
  std::vector<SafetensorsEntry> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
  uint64_t data_start_ = 0;
  uint64_t data_bytes_ = 0;
  size_t num_resumed_ = 0;
  int fd_ = -1;
  int journal_fd_ = -1;
  bool finished_ = false;

  mutable std::mutex mutex_;  // Guards the members below.
  std::vector<bool> complete_;
  std::vector<size_t> unjournaled_;
  uint64_t unjournaled_bytes_ = 0;
};

}  // namespace octavo
