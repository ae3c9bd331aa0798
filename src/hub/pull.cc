// SPDX-License-Identifier: Apache-2.0
// Asking the API, choosing, fetching, linking.
#include "hub/pull.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <atomic>
#include <filesystem>
#include <utility>
#include <vector>

#include "hub/hub_cache.h"
#include "hub/signals_as_errors.h"

namespace octavo::hub {
namespace {

constexpr int kMaxTreePages = 1000;

// The API's answers, whole.
class Api {
 public:
  Api(const HubName& name, const HubSettings& settings, const PullHooks& hooks)
      : name_(name),
        settings_(settings),
        cancel_(hooks.cancel),
        client_(settings.timeout_s, cancel_) {}

  Result<std::string> ResolveCommit() {
    HttpReply reply;
    OCTAVO_ASSIGN_OR_RETURN(const std::string text,
                            Get(ModelUrl() + "/revision/" + EscapeUrl(name_.revision), reply));
    return ParseCommit(text);
  }

  Result<std::vector<RepoFile>> ListFiles(const std::string& commit) {
    std::vector<RepoFile> files;
    std::string url = ModelUrl() + "/tree/" + commit + "?recursive=1";
    for (int page = 0; page < kMaxTreePages; ++page) {
      HttpReply reply;
      OCTAVO_ASSIGN_OR_RETURN(const std::string text, Get(url, reply));
      OCTAVO_RETURN_IF_ERROR(ParseTreePage(text, files));
      const std::string next = NextPage(reply.Header("link"));
      if (next.empty()) return files;
      // The token goes with it, so it has to stay at home.
      if (!next.starts_with(settings_.endpoint + "/")) {
        return DataLoss("the hub's list goes on at another host: " + next.substr(0, 200));
      }
      url = next;
    }
    return ResourceExhausted(fmt::format("the hub's list has over {} pages", kMaxTreePages));
  }

 private:
  std::string ModelUrl() const { return settings_.endpoint + "/api/models/" + name_.repository; }

  Result<std::string> Get(const std::string& url, HttpReply& reply) {
    std::string body;
    const HttpClient::Sink sink = {[&](const HttpReply&) { return body.clear(), Status::Ok(); },
                                   [&](std::string_view bytes) {
                                     if (body.size() + bytes.size() > kMaxListingBytes) {
                                       return DataLoss(url + ": answer too large");
                                     }
                                     return body.append(bytes), Status::Ok();
                                   }};
    OCTAVO_RETURN_IF_ERROR(WithRetries(cancel_, [&] {
      Attempt attempt = client_.Get({url, settings_.token}, sink, reply);
      if (attempt.status.ok() && (reply.status < 200 || reply.status >= 300)) {
        attempt.status = ExplainReply(reply, "GET " + url, !settings_.token.empty());
      }
      return attempt;
    }));
    return body;
  }

  const HubName& name_;
  const HubSettings& settings_;
  const std::atomic<bool>* cancel_;
  HttpClient client_;
};

// What partial files of the selection already hold counts as space that is taken.
Status CheckSpace(const RepoCache& cache, uint64_t missing_bytes,
                  const std::vector<RepoFile>& files) {
  struct statvfs info{};
  if (::statvfs(cache.folder().c_str(), &info) != 0) return Status::Ok();
  uint64_t available = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  for (const RepoFile& file : files) {
    struct stat partial{};
    const std::string path = cache.BlobPath(file.hash) + ".octavo-incomplete";
    if (::stat(path.c_str(), &partial) == 0) {
      available += static_cast<uint64_t>(partial.st_blocks) * 512;
    }
  }
  if (missing_bytes <= available) return Status::Ok();
  return ResourceExhausted(fmt::format("{}: {} bytes to fetch, but the disk has {} left",
                                       cache.folder(), missing_bytes, available));
}

Status FetchFiles(const RepoCache& cache, const HubName& name, const std::vector<RepoFile>& files,
                  const HubSettings& settings, const PullHooks& hooks, Pulled& pulled) {
  uint64_t present = 0;
  for (const RepoFile& file : files) {
    pulled.total_bytes += file.size;
    if (cache.HasBlob(file)) present += file.size;
  }
  pulled.num_files = files.size();
  pulled.fetched_bytes = pulled.total_bytes - present;
  OCTAVO_RETURN_IF_ERROR(CheckSpace(cache, pulled.fetched_bytes, files));

  std::atomic<int64_t> done{0};
  DownloadHooks download;
  download.cancel = hooks.cancel;
  download.log = hooks.log;
  download.on_bytes = [&](int64_t bytes) {
    const int64_t now = done.fetch_add(bytes) + bytes;
    if (hooks.progress) hooks.progress(static_cast<uint64_t>(now), pulled.total_bytes);
  };
  for (const RepoFile& file : files) {
    const std::string url = fmt::format("{}/{}/resolve/{}/{}", settings.endpoint, name.repository,
                                        pulled.commit, EscapeUrl(file.path, "/"));
    OCTAVO_RETURN_IF_ERROR(
        DownloadBlob(cache, file, {url, settings.token, settings.timeout_s}, download));
    OCTAVO_RETURN_IF_ERROR(cache.Link(pulled.commit, file));
  }
  return Status::Ok();
}

}  // namespace

Result<Pulled> Pull(const HubName& name, const FileFilter& filter, const HubSettings& settings,
                    const PullHooks& hooks) {
  if (settings.offline) {
    return FailedPrecondition(
        fmt::format("{}: not fetched, OCTAVO_OFFLINE or HF_HUB_OFFLINE is set", name.ToString()));
  }
  const SignalsAsErrors signals;
  Api api(name, settings, hooks);
  Pulled pulled;
  auto commit = api.ResolveCommit();
  if (!commit.ok()) return std::move(commit).status().WithContext(name.ToString());
  pulled.commit = std::move(commit).value();
  auto listed = api.ListFiles(pulled.commit);
  if (!listed.ok()) return std::move(listed).status().WithContext(name.ToString());
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<RepoFile> files, SelectFiles(*listed, name, filter));

  const RepoCache cache(settings.cache_dir, name.repository);
  OCTAVO_RETURN_IF_ERROR(cache.Create());
  Status fetched = FetchFiles(cache, name, files, settings, hooks, pulled);
  if (!fetched.ok()) return std::move(fetched).WithContext(name.ToString());
  OCTAVO_RETURN_IF_ERROR(cache.WriteRef(name.revision, pulled.commit));
  pulled.path = cache.SnapshotPath(pulled.commit);
  if (!name.file.empty()) pulled.path += "/" + name.file;
  return pulled;
}

Result<std::string> FindCached(const HubName& name, const HubSettings& settings) {
  const RepoCache cache(settings.cache_dir, name.repository);
  const auto commit = cache.ReadRef(name.revision);
  if (commit.ok()) {
    const std::string snapshot = cache.SnapshotPath(*commit);
    std::error_code error;
    if (name.file.empty() && IsCompleteModel(snapshot)) return snapshot;
    const std::string file = snapshot + "/" + name.file;
    if (!name.file.empty() && std::filesystem::is_regular_file(file, error)) return file;
  }
  return NotFound(fmt::format("{}: not, or not all of it, in {}", name.ToString(), cache.folder()));
}

}  // namespace octavo::hub
