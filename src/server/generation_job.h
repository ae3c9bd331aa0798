// SPDX-License-Identifier: Apache-2.0
// One HTTP request in the engine: submits its prompts, turns outputs into the reply, and aborts
// everything when the client goes away.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "octavo/engine.h"
#include "server/api_error.h"
#include "server/reply_formatter.h"
#include "server/response_channel.h"

namespace octavo::server {

// Runs a task on a worker thread, for work too long for the engine's output thread.
using TaskRunner = std::function<void(std::function<void()>)>;

class GenerationJob : public std::enable_shared_from_this<GenerationJob> {
 public:
  struct Options {
    bool stream = false;
    bool include_usage = false;
    std::vector<HttpHeader> headers;           // Of the reply.
    std::function<void(int status)> on_done;   // Once, with the reply's status; may be empty.
  };

  // Submits all of `requests` and answers through `reply`; returns at once. If one is refused, none
  // runs and the refusal is the reply. The engine must outlive the job.
  static void Start(LlmEngine& engine, std::vector<GenerationRequest> requests,
                    std::unique_ptr<ReplyFormatter> formatter, Options options, TaskRunner run,
                    std::shared_ptr<ResponseChannel> reply);

 private:
  GenerationJob(LlmEngine& engine, std::unique_ptr<ReplyFormatter> formatter, Options options,
                TaskRunner run, std::shared_ptr<ResponseChannel> reply, size_t num_prompts);

  Status Submit(std::vector<GenerationRequest> requests);
  void OnOutput(size_t prompt, RequestOutput output);
  void Handle(size_t prompt, RequestOutput output);
  void StreamOutput(size_t prompt, RequestOutput output);
  void FinishAll();
  void Fail(const Status& status);
  void Done(int status);
  void AbortAll();
  Usage TotalUsage() const;

  LlmEngine& engine_;
  const std::unique_ptr<ReplyFormatter> formatter_;
  const Options options_;
  const TaskRunner run_;
  const std::shared_ptr<ResponseChannel> reply_;

  std::mutex mutex_;
  // Outputs that came before the reply was under way, in order.
  std::vector<std::pair<size_t, RequestOutput>> early_;
  bool started_ = false;
  bool failed_ = false;
  std::vector<RequestId> ids_;
  std::vector<Usage> usage_;  // By prompt, the latest.
  size_t unfinished_ = 0;
};

}  // namespace octavo::server
