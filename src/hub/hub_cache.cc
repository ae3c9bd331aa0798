// SPDX-License-Identifier: Apache-2.0
// Paths, refs, links and locks of the cache.
#include "hub/hub_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/json.h"
#include "hub/hub_name.h"

namespace octavo::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRefBytes = 256;
constexpr auto kLockPollInterval = std::chrono::milliseconds(100);

Status MakeFolders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) return Status::Ok();
  errno = error.value();
  return ErrnoStatus(path, "mkdir");
}

// Whether `fd` is still the file at `path`: its former holder may have removed it.
bool IsSameFile(int fd, const std::string& path) {
  struct stat held{};
  struct stat named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

bool Exists(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);  // follows links
}

// Every shard that the index names.
bool HasShards(const std::string& snapshot) {
  if (Exists(snapshot + "/model.safetensors")) return true;
  const auto index = ParseJsonFile(snapshot + "/model.safetensors.index.json",
                                   {.max_bytes = kMaxListingBytes, .max_depth = 16});
  if (!index.ok()) return false;
  const Json* map = Find(*index, "weight_map");
  if (map == nullptr || !map->is_object() || map->empty()) return false;
  return std::all_of(map->begin(), map->end(), [&](const Json& shard) {
    return shard.is_string() && CheckRelativePath(shard.get_ref<const std::string&>()).ok() &&
           Exists(snapshot + "/" + shard.get_ref<const std::string&>());
  });
}

}  // namespace

RepoCache::RepoCache(std::string cache_dir, const std::string& repository) {
  const size_t slash = repository.find('/');
  const std::string name =
      "models--" + repository.substr(0, slash) + "--" + repository.substr(slash + 1);
  locks_ = cache_dir + "/.locks/" + name;
  folder_ = std::move(cache_dir) + "/" + name;
}

Result<std::string> RepoCache::ReadRef(const std::string& revision) const {
  if (IsCommit(revision)) return revision;
  OCTAVO_RETURN_IF_ERROR(CheckRevision(revision));
  const std::string path = folder_ + "/refs/" + revision;
  OCTAVO_ASSIGN_OR_RETURN(std::string commit, ReadFile(path, kMaxRefBytes));
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
  if (!IsCommit(commit)) return DataLoss(path + ": holds no commit");
  return commit;
}

Status RepoCache::WriteRef(const std::string& revision, const std::string& commit) const {
  if (IsCommit(revision)) return Status::Ok();
  const std::string path = folder_ + "/refs/" + revision;
  OCTAVO_RETURN_IF_ERROR(MakeFolders(fs::path(path).parent_path()));
  return WriteFileAtomically(path, commit);
}

Status RepoCache::Create() const {
  OCTAVO_RETURN_IF_ERROR(MakeFolders(folder_ + "/blobs"));
  return MakeFolders(locks_);
}

bool RepoCache::HasBlob(const RepoFile& file) const {
  struct stat info{};
  return ::stat(BlobPath(file.hash).c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         static_cast<uint64_t>(info.st_size) == file.size;
}

Status RepoCache::Link(const std::string& commit, const RepoFile& file) const {
  const fs::path path = fs::path(SnapshotPath(commit)) / file.path;
  std::string target = "../../blobs/" + file.hash;
  for (const char c : file.path) {
    if (c == '/') target.insert(0, "../");
  }
  std::error_code error;
  if (fs::read_symlink(path, error) == target) return Status::Ok();
  OCTAVO_RETURN_IF_ERROR(MakeFolders(path.parent_path()));
  // By rename, so that a reader finds the old link or the new one.
  const std::string temporary = fmt::format("{}.tmp.{}", path.string(), ::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) return ErrnoStatus(temporary, "symlink");
  if (::rename(temporary.c_str(), path.c_str()) == 0) return Status::Ok();
  Status status = ErrnoStatus(path.string(), "rename");
  ::unlink(temporary.c_str());
  return status;
}

Result<FileDescriptor> RepoCache::LockBlob(const std::string& hash,
                                           const std::atomic<bool>* cancel) const {
  const std::string path = locks_ + "/" + hash + ".lock";
  while (true) {
    FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (file.get() < 0) return ErrnoStatus(path, "open");
    while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoStatus(path, "flock");
      if (cancel != nullptr && cancel->load()) return Cancelled("interrupted");
      std::this_thread::sleep_for(kLockPollInterval);
    }
    if (IsSameFile(file.get(), path)) return file;
  }
}

bool IsCompleteModel(const std::string& snapshot) {
  constexpr std::array<std::string_view, 5> kTokenizers = {
      "/tokenizer.json", "/tokenizer.model", "/tiktoken.model", "/vocab.json", "/vocab.txt"};
  const bool tokenizer =
      std::any_of(kTokenizers.begin(), kTokenizers.end(),
                  [&](std::string_view name) { return Exists(snapshot + std::string(name)); });
  return tokenizer && Exists(snapshot + "/config.json") && HasShards(snapshot);
}

}  // namespace octavo::hub
