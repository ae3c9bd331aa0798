// SPDX-License-Identifier: Apache-2.0
// GenerationJob: from engine callbacks to events or one body.
#include "server/generation_job.h"

#include <utility>

namespace octavo::server {
namespace {

// Bodies of more prompts or tokens than this are put together on a worker thread.
constexpr int64_t kSmallReplyTokens = 512;

}  // namespace

void GenerationJob::Start(LlmEngine& engine, std::vector<GenerationRequest> requests,
                          std::unique_ptr<ReplyFormatter> formatter, Options options,
                          TaskRunner run, std::shared_ptr<ResponseChannel> reply) {
  const std::shared_ptr<GenerationJob> job(
      new GenerationJob(engine, std::move(formatter), std::move(options), std::move(run),
                        std::move(reply), requests.size()));
  const Status submitted = job->Submit(std::move(requests));
  if (!submitted.ok()) {
    job->AbortAll();
    job->Done(ErrorFromStatus(submitted).status);
    HttpResponse response = ErrorResponse(ErrorFromStatus(submitted));
    for (const HttpHeader& header : job->options_.headers) response.headers.push_back(header);
    job->reply_->Send(std::move(response));
    return;
  }
  if (job->options_.stream) {
    HttpResponse head;
    head.content_type = "text/event-stream; charset=utf-8";
    head.headers = job->options_.headers;
    head.headers.push_back({"Cache-Control", "no-cache"});
    head.headers.push_back({"X-Accel-Buffering", "no"});
    job->reply_->StartStream(std::move(head));
    std::string events;
    job->formatter_->Begin(events);
    if (!events.empty()) job->reply_->Write(events);
  }
  job->reply_->OnClose([job] { job->AbortAll(); });
  // Outputs that came meanwhile go first; those that come while this loop runs wait in line.
  const std::lock_guard lock(job->mutex_);
  job->started_ = true;
  for (auto& [prompt, output] : std::exchange(job->early_, {})) {
    job->Handle(prompt, std::move(output));
  }
}

GenerationJob::GenerationJob(LlmEngine& engine, std::unique_ptr<ReplyFormatter> formatter,
                             Options options, TaskRunner run,
                             std::shared_ptr<ResponseChannel> reply, size_t num_prompts)
    : engine_(engine),
      formatter_(std::move(formatter)),
      options_(std::move(options)),
      run_(std::move(run)),
      reply_(std::move(reply)),
      usage_(num_prompts),
      unfinished_(num_prompts) {}

Status GenerationJob::Submit(std::vector<GenerationRequest> requests) {
  const auto self = shared_from_this();
  for (size_t prompt = 0; prompt < requests.size(); ++prompt) {
    auto id = engine_.Submit(std::move(requests[prompt]), [self, prompt](RequestOutput output) {
      self->OnOutput(prompt, std::move(output));
    });
    const std::lock_guard lock(mutex_);
    if (!id.ok()) {
      failed_ = true;
      return std::move(id).status();
    }
    ids_.push_back(*id);
  }
  return Status::Ok();
}

void GenerationJob::OnOutput(size_t prompt, RequestOutput output) {
  const std::lock_guard lock(mutex_);
  if (!started_ && !failed_) {
    early_.emplace_back(prompt, std::move(output));
    return;
  }
  Handle(prompt, std::move(output));
}

// mutex_ is held.
void GenerationJob::Handle(size_t prompt, RequestOutput output) {
  if (failed_) return;
  usage_[prompt] = output.usage;
  const bool finished = output.finished;
  if (finished && !output.status.ok()) return Fail(output.status);
  if (options_.stream) {
    StreamOutput(prompt, std::move(output));
  } else {
    formatter_->Collect(prompt, std::move(output));
  }
  if (finished && --unfinished_ == 0) FinishAll();
}

void GenerationJob::StreamOutput(size_t prompt, RequestOutput output) {
  std::string events;
  formatter_->Stream(prompt, std::move(output), TotalUsage(), events);
  // A client that does not read ends the request, as one that left.
  if (!events.empty() && !reply_->Write(events)) {
    failed_ = true;
    for (const RequestId id : ids_) engine_.Abort(id);
    Done(499);
  }
}

void GenerationJob::FinishAll() {
  if (reply_->closed()) return Done(499);
  if (options_.stream) {
    std::string events;
    if (options_.include_usage) AppendEvent(events, formatter_->UsageChunk(TotalUsage()));
    events += "data: [DONE]\n\n";
    reply_->Write(events);
    reply_->Finish();
    return Done(200);
  }
  auto send = [self = shared_from_this()] {
    HttpResponse response;
    response.headers = self->options_.headers;
    response.body = DumpJson(self->formatter_->Result(self->TotalUsage()));
    self->Done(200);
    self->reply_->Send(std::move(response));
  };
  const Usage usage = TotalUsage();
  if (usage.prompt_tokens + usage.completion_tokens <= kSmallReplyTokens) return send();
  run_(std::move(send));
}

void GenerationJob::Fail(const Status& status) {
  failed_ = true;
  for (const RequestId id : ids_) engine_.Abort(id);
  const ApiError error = ErrorFromStatus(status);
  Done(error.status);
  if (!options_.stream) return reply_->Send(ErrorResponse(error));
  reply_->Write("data: " + ErrorBody(error) + "\n\ndata: [DONE]\n\n");
  reply_->Finish();
}

void GenerationJob::Done(int status) {
  if (options_.on_done) options_.on_done(status);
}

void GenerationJob::AbortAll() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    ids = ids_;
  }
  for (const RequestId id : ids) engine_.Abort(id);
}

Usage GenerationJob::TotalUsage() const {
  Usage total;
  for (const Usage& usage : usage_) {
    total.prompt_tokens += usage.prompt_tokens;
    total.cached_tokens += usage.cached_tokens;
    total.completion_tokens += usage.completion_tokens;
  }
  return total;
}

}  // namespace octavo::server
