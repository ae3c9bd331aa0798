// SPDX-License-Identifier: Apache-2.0
// The residual stream of all calibration tokens between two layers, in a scratch file.
//
// Batches come and go through pread and pwrite: the system's page cache keeps the file in memory where
// there is room, none of it counts as this process's, and a full disk is an error and not a signal.
#pragma once

#include <cstdint>
#include <string>

#include "octavo/status.h"

namespace octavo {

class BoundaryFile {
 public:
  // Creates or truncates `path` for [rows, cols] f32.
  static Result<BoundaryFile> Create(const std::string& path, int64_t rows, int64_t cols);

  // Opens what Create and Write left. DataLoss when size or hash differ.
  static Result<BoundaryFile> Open(const std::string& path, int64_t rows, int64_t cols,
                                   const std::string& hash);

  BoundaryFile(BoundaryFile&& other) noexcept { *this = std::move(other); }
  BoundaryFile& operator=(BoundaryFile&& other) noexcept;
  BoundaryFile(const BoundaryFile&) = delete;
  BoundaryFile& operator=(const BoundaryFile&) = delete;
  ~BoundaryFile();

  Status Read(int64_t row, int64_t count, float* out) const;

  // Rows must come in order, each once.
  Status Write(int64_t row, int64_t count, const float* values);

  // Of the rows written so far, in hexadecimal digits. Guards against torn files, not attackers.
  std::string hash() const;

 private:
  BoundaryFile() = default;
  void AddToHash(const float* values, int64_t count);

  std::string path_;
  int fd_ = -1;
  int64_t cols_ = 0;
  int64_t next_row_ = 0;
  uint64_t hash_ = 0;
};

}  // namespace octavo
