// SPDX-License-Identifier: Apache-2.0
// Temporary folder, fsync, rename.
#include "quantizers/output_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "base/json.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "octavo_resume.json";

Status FileError(const std::string& path, std::string_view operation, const std::error_code& error) {
  return IoError(fmt::format("{}: {} failed: {}", path, operation, error.message()));
}

bool IsEmptyFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::is_empty(path, error);
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? FileError(path, "remove", error) : Status::Ok();
}

// The fingerprint of the run that left the folder, or an error when it is not one of ours.
Result<std::string> ReadMark(const std::string& working) {
  auto json = ParseJsonFile(working + "/" + kMark);
  if (json.ok()) {
    auto fingerprint = GetString(*json, "fingerprint");
    if (fingerprint.ok()) return fingerprint;
  }
  return FailedPrecondition(fmt::format(
      "{}: exists and is not an unfinished output of octavo; move it away", working));
}

}  // namespace

Result<OutputFolder> OutputFolder::Create(const std::string& path, const Options& options) {
  OutputFolder folder;
  folder.path_ = path;
  while (folder.path_.size() > 1 && folder.path_.ends_with('/')) folder.path_.pop_back();
  if (folder.path_.empty()) return InvalidArgument("no output folder given");
  folder.working_ = folder.path_ + ".partial";
  folder.overwrite_ = options.overwrite;
  std::error_code error;
  if (fs::exists(folder.path_, error) && !IsEmptyFolder(folder.path_)) {
    if (!fs::is_directory(folder.path_, error)) {
      return FailedPrecondition(fmt::format("{}: is a file, want a folder", folder.path_));
    }
    if (!options.overwrite) {
      return FailedPrecondition(
          fmt::format("{}: exists and is not empty (--overwrite replaces it)", folder.path_));
    }
    if (!fs::exists(folder.path_ + "/config.json", error)) {
      return FailedPrecondition(fmt::format(
          "{}: has no config.json, so it is no checkpoint and is not replaced", folder.path_));
    }
  }
  if (fs::exists(folder.working_, error) && !IsEmptyFolder(folder.working_)) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string found, ReadMark(folder.working_));
    if (options.resume && found == options.fingerprint) return folder;
    if (options.resume) {
      return FailedPrecondition(fmt::format(
          "{}: was left by a run with another model or other options; run without --resume to start "
          "anew",
          folder.working_));
    }
    OCTAVO_RETURN_IF_ERROR(RemoveTree(folder.working_));
  }
  fs::create_directories(folder.working_, error);
  if (error) return FileError(folder.working_, "create", error);
  const Json mark = {{"fingerprint", options.fingerprint}};
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder.FilePath(kMark), DumpJson(mark, 1)));
  return folder;
}

bool OutputFolder::HasFile(const std::string& name) const {
  std::error_code error;
  return fs::is_regular_file(FilePath(name), error);
}

Status OutputFolder::Discard() { return RemoveTree(working_); }

Status OutputFolder::Publish() {
  std::error_code error;
  OCTAVO_RETURN_IF_ERROR(SyncFolder(working_));
  const std::string old = path_ + ".replaced";
  const bool replaces = fs::exists(path_, error) && !IsEmptyFolder(path_);
  if (replaces) {
    OCTAVO_RETURN_IF_ERROR(RemoveTree(old));
    fs::rename(path_, old, error);
    if (error) return FileError(path_, "rename", error);
  }
  fs::rename(working_, path_, error);
  if (error) {
    const Status status = FileError(working_, "rename", error);
    if (replaces) fs::rename(old, path_, error);  // the old content comes back
    return status;
  }
  // The mark goes last: a crash before the rename must leave a folder that can be resumed.
  fs::remove(path_ + "/" + kMark, error);
  if (error) return FileError(path_ + "/" + kMark, "remove", error);
  const std::string parent = fs::path(path_).parent_path().string();
  OCTAVO_RETURN_IF_ERROR(SyncFolder(parent.empty() ? "." : parent));
  return replaces ? RemoveTree(old) : Status::Ok();
}

}  // namespace octavo
