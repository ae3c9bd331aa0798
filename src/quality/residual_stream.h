// SPDX-License-Identifier: Apache-2.0
// The residual streams of all windows of a text, on disk.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/scratch_file.h"

namespace octavo {

// [windows][window, hidden_size] f32.
class ResidualStream {
 public:
  static Result<ResidualStream> Create(const std::string& folder, int64_t window,
                                       int64_t hidden_size) {
    OCTAVO_ASSIGN_OR_RETURN(ScratchFile file, ScratchFile::Create(folder));
    return ResidualStream(std::move(file), window * hidden_size);
  }

  // Floats of one window.
  size_t size() const { return static_cast<size_t>(floats_); }

  Status Write(int64_t window, const float* hidden) {
    return file_.Write(static_cast<uint64_t>(window) * bytes(), hidden, bytes());
  }
  Status Read(int64_t window, float* hidden) const {
    return file_.Read(static_cast<uint64_t>(window) * bytes(), bytes(), hidden);
  }

 private:
  ResidualStream(ScratchFile file, int64_t floats) : file_(std::move(file)), floats_(floats) {}
  uint64_t bytes() const { return static_cast<uint64_t>(floats_) * sizeof(float); }

  ScratchFile file_;
  int64_t floats_;
};

}  // namespace octavo
