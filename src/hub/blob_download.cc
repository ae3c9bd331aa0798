// SPDX-License-Identifier: Apache-2.0
// Parts, threads and checks of a download.
#include "hub/blob_download.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "hub/checksum.h"
#include "hub/part_ledger.h"

namespace octavo::hub {
namespace {

// "bytes 100-199/1000" is the wanted piece of a file of the wanted size.
Status CheckContentRange(std::string_view header, uint64_t begin, uint64_t size) {
  const std::string want_begin = fmt::format("bytes {}-", begin);
  const std::string want_end = fmt::format("/{}", size);
  if (header.starts_with(want_begin) && header.ends_with(want_end)) return Status::Ok();
  return DataLoss(fmt::format("the server sends '{}', want {}...{}", header, want_begin, want_end));
}

// One run over the parts of a file.
class PartsDownload {
 public:
  PartsDownload(PartLedger& ledger, const RepoFile& file, const BlobSource& source,
                const DownloadHooks& hooks)
      : ledger_(ledger), file_(file), source_(source), hooks_(hooks) {}

  Status Run() {
    const size_t num_threads = std::min<size_t>(kConnections, ledger_.num_parts());
    std::vector<std::thread> threads;
    for (size_t i = 1; i < num_threads; ++i) threads.emplace_back([this] { Work(); });
    Work();
    for (std::thread& thread : threads) thread.join();
    return status_;
  }

  // The server answers a range with the whole file: it can only be read from its beginning.
  bool range_ignored() const { return range_ignored_; }

 private:
  void Work() {
    HttpClient client(source_.timeout_s, hooks_.cancel);
    for (size_t part = next_++; part < ledger_.num_parts() && !stop_; part = next_++) {
      if (ledger_.complete(part)) continue;
      Status status = WithRetries(hooks_.cancel, [&] {
                        return FetchRest(client, part);
                      }).WithContext(file_.path);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex_);
      if (status_.ok()) status_ = std::move(status);
      stop_ = true;
    }
  }

  Attempt FetchRest(HttpClient& client, size_t part) {
    if (stop_) return {Cancelled("another part failed")};
    const uint64_t before = ledger_.done(part);
    HttpRequest request{source_.url, source_.token};
    // A whole file from its start is asked for without a range, which any server can do.
    const uint64_t begin = ledger_.begin(part) + before;
    if (begin > 0 || ledger_.num_parts() > 1) {
      request.range = {begin, ledger_.begin(part) + ledger_.part_size(part)};
    }
    HttpReply reply;
    const HttpClient::Sink sink = {
        [&](const HttpReply& answer) { return Start(part, request.range.has_value(), answer); },
        [&](std::string_view bytes) { return Write(part, bytes); }};
    Attempt attempt = client.Get(request, sink, reply);
    attempt.progressed = ledger_.done(part) > before;
    if (attempt.status.ok() && (reply.status < 200 || reply.status >= 300)) {
      attempt.status = ExplainReply(reply, "GET " + source_.url, !source_.token.empty());
    } else if (attempt.status.ok() && !ledger_.complete(part)) {
      attempt.status = DataLoss(fmt::format("the connection ended after {} of {} bytes",
                                            ledger_.done(part), ledger_.part_size(part)));
      attempt.retryable = true;
    }
    return attempt;
  }

  Status Start(size_t part, bool ranged, const HttpReply& reply) {
    if (ranged && reply.status == 206) {
      return CheckContentRange(reply.Header("content-range"),
                               ledger_.begin(part) + ledger_.done(part), ledger_.size());
    }
    const std::string_view length = reply.Header("content-length");
    uint64_t bytes = 0;
    const auto parsed = std::from_chars(length.data(), length.data() + length.size(), bytes);
    if (parsed.ec == std::errc() && bytes != ledger_.size()) {
      return DataLoss(
          fmt::format("the server sends {} bytes, want {} as listed", bytes, ledger_.size()));
    }
    if (!ranged) return Status::Ok();
    if (ledger_.num_parts() > 1) {
      range_ignored_ = true;
      return FailedPrecondition("the server sends whole files only");
    }
    Report(-static_cast<int64_t>(ledger_.done(part)));
    return ledger_.Reset(part);
  }

  Status Write(size_t part, std::string_view bytes) {
    if (stop_) return Cancelled("another part failed");
    if (bytes.size() > ledger_.part_size(part) - ledger_.done(part)) {
      return DataLoss(fmt::format("the server sends more than the {} bytes asked for",
                                  ledger_.part_size(part)));
    }
    OCTAVO_RETURN_IF_ERROR(ledger_.Write(part, bytes));
    Report(static_cast<int64_t>(bytes.size()));
    return Status::Ok();
  }

  void Report(int64_t bytes) const {
    if (hooks_.on_bytes) hooks_.on_bytes(bytes);
  }

  PartLedger& ledger_;
  const RepoFile& file_;
  const BlobSource& source_;
  const DownloadHooks& hooks_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> range_ignored_{false};
  std::mutex mutex_;
  Status status_;
};

// Fills PATH, going on from what is there. Counts what is there as arrived.
Status FetchParts(const std::string& path, const RepoFile& file, const BlobSource& source,
                  const DownloadHooks& hooks, std::unique_ptr<PartLedger>& ledger) {
  for (uint64_t part_bytes = std::min(kPartBytes, file.size);; part_bytes = file.size) {
    OCTAVO_ASSIGN_OR_RETURN(ledger, PartLedger::Open(path, file.size, part_bytes));
    if (hooks.on_bytes) hooks.on_bytes(static_cast<int64_t>(ledger->total_done()));
    PartsDownload download(*ledger, file, source, hooks);
    Status status = download.Run();
    if (status.ok() || !download.range_ignored() || part_bytes == file.size) return status;
    if (hooks.on_bytes) hooks.on_bytes(-static_cast<int64_t>(ledger->total_done()));
  }
}

Status FetchAndCheck(const RepoCache& cache, const RepoFile& file, const BlobSource& source,
                     const DownloadHooks& hooks) {
  const std::string blob = cache.BlobPath(file.hash);
  if (file.size == 0) {
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(blob, ""));
    return VerifyFile(blob, file);
  }
  const std::string partial = blob + ".octavo-incomplete";
  std::unique_ptr<PartLedger> ledger;
  for (bool again = true;; again = false) {
    OCTAVO_RETURN_IF_ERROR(FetchParts(partial, file, source, hooks, ledger));
    Status status = VerifyFile(partial, file);
    if (status.ok()) return ledger->Publish(blob);
    PartLedger::Remove(partial);
    if (hooks.on_bytes) hooks.on_bytes(-static_cast<int64_t>(file.size));
    if (!again || status.code() != StatusCode::kDataLoss) return status;
    if (hooks.log) hooks.log(status.message() + "; fetching it again");
  }
}

}  // namespace

Status ExplainReply(const HttpReply& reply, const std::string& what, bool has_token) {
  // The hub says in headers of its own what its status means.
  const std::string_view code = reply.Header("x-error-code");
  std::string_view said = reply.Header("x-error-message");
  const std::string message = fmt::format("{}: status {}{}{}", what, reply.status,
                                          said.empty() ? "" : ": ", said.substr(0, 500));
  if (code == "GatedRepo" || (reply.status == 403 && code.empty())) {
    return FailedPrecondition(
        message + (has_token ? "; ask for access on the model's page, with the token's account"
                             : "; the model is gated: get access on its page and set HF_TOKEN"));
  }
  if (reply.status == 401) {
    return FailedPrecondition(
        message + (has_token ? "; the token is not accepted, or the name is wrong"
                             : "; the name is wrong, or the model is private: set HF_TOKEN"));
  }
  if (code == "RevisionNotFound") return NotFound(message + "; there is no such revision");
  if (reply.status == 404) return NotFound(message + "; there is no such model or file");
  if (reply.status == 429) return ResourceExhausted(message + "; too many requests, try later");
  return reply.status == 403 ? FailedPrecondition(message) : IoError(message);
}

Status DownloadBlob(const RepoCache& cache, const RepoFile& file, const BlobSource& source,
                    const DownloadHooks& hooks) {
  OCTAVO_ASSIGN_OR_RETURN(const FileDescriptor lock, cache.LockBlob(file.hash, hooks.cancel));
  if (!cache.HasBlob(file)) return FetchAndCheck(cache, file, source, hooks);
  if (hooks.on_bytes) hooks.on_bytes(static_cast<int64_t>(file.size));
  return Status::Ok();
}

}  // namespace octavo::hub
