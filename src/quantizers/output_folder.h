// SPDX-License-Identifier: Apache-2.0
// An output folder that appears whole or not at all.
#pragma once

#include <string>

#include "octavo/status.h"

namespace octavo {

// Work happens in PATH.partial:
//
//   PATH.partial/octavo_resume.json   fingerprint of the run; marks the folder as ours
//   PATH.partial/...                  finished and unfinished files
//
// Publish() syncs it and renames it to PATH. Until then PATH is untouched.
class OutputFolder {
 public:
  struct Options {
    bool resume = false;     // keep what an interrupted run with this fingerprint left
    bool overwrite = false;  // allow Publish() to replace a non-empty PATH
    std::string fingerprint;
  };

  // Errors: FailedPrecondition when PATH is a file, a non-empty folder without `overwrite`, or a
  // non-empty folder that is no checkpoint; when PATH.partial is not ours, or when resuming a run with another fingerprint.
  static Result<OutputFolder> Create(const std::string& path, const Options& options);

  // The folder to write into, without a trailing slash.
  const std::string& working_path() const { return working_; }
  std::string FilePath(const std::string& name) const { return working_ + "/" + name; }
  bool HasFile(const std::string& name) const;

  // Syncs, renames and removes the mark. With `overwrite` the old folder is moved aside first and
  // removed afterwards.
  Status Publish();

  // Deletes the working folder with all its files.
  Status Discard();

 private:
  OutputFolder() = default;
  std::string path_;
  std::string working_;
  bool overwrite_ = false;
};

}  // namespace octavo
