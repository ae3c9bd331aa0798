// SPDX-License-Identifier: Apache-2.0
// The output thread's work on one step.
#include "engine/output_processor.h"

#include <algorithm>
#include <utility>

namespace octavo {
namespace {

double Seconds(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

OutputProcessor::ChoiceStream OutputProcessor::MakeChoice(const EngineRequest& request) const {
  const SamplingParams& params = request.params;
  ChoiceStream choice;
  if (params.detokenize) {
    StartText(request, choice);
    choice.stops = StopMatcher(params.stop, params.include_stop_str_in_output);
  }
  return choice;
}

// How a token reads can depend on the ones before it (a leading space is dropped only at the start
// of a text), so the prompt's last tokens go first and their text is dropped.
void OutputProcessor::StartText(const EngineRequest& request, ChoiceStream& choice) const {
  constexpr size_t kContextTokens = 6;
  const bool skip = request.params.skip_special_tokens;
  choice.detokenizer = std::make_unique<StreamingDetokenizer>(text_.tokenizer(), skip);
  const std::span<const int32_t> prompt = request.prompt;
  const auto context = prompt.last(std::min(kContextTokens, prompt.size()));
  size_t shown = 0;
  for (const int32_t token : context) shown += choice.detokenizer->Push(token).size();
  const std::string whole = text_.tokenizer().Decode(context, skip);
  if (shown < whole.size()) choice.prompt_rest = whole.substr(shown);
}

void OutputProcessor::Register(std::shared_ptr<const EngineRequest> request,
                               OutputCallback callback, SteadyTime submitted) {
  Stream stream;
  const auto num_choices = request->pooling == Pooling::kNone ? request->params.n : 1;
  for (int32_t i = 0; i < num_choices; ++i) stream.choices.push_back(MakeChoice(*request));
  stream.num_open = stream.choices.size();
  stream.usage.prompt_tokens = static_cast<int64_t>(request->prompt.size());
  stream.callback = std::move(callback);
  stream.submitted = stream.scheduled = stream.last_token = submitted;
  const RequestId id = request->id;
  stream.request = std::move(request);
  streams_.emplace(id, std::move(stream));
}

void OutputProcessor::Process(StepReport& report, News& news) {
  std::vector<RequestId> touched;
  const auto find = [&](RequestId id) -> Stream* {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return nullptr;
    if (!std::exchange(it->second.touched, true)) touched.push_back(id);
    return &it->second;
  };
  for (PromptUpdate& update : report.prompts) {
    if (Stream* stream = find(update.request_id)) AddPrompt(*stream, update, report.begin);
  }
  for (ChoiceUpdate& update : report.choices) {
    Stream* stream = find(update.request_id);
    if (stream != nullptr) AddChoice(*stream, update, report.end, news);
  }
  for (const RequestId id : touched) Deliver(streams_.at(id), report.end, news);
}

void OutputProcessor::AddPrompt(Stream& stream, PromptUpdate& update, SteadyTime begin) {
  if (update.scheduled) {
    stream.scheduled = begin;
    stream.usage.cached_tokens = update.num_cached;
    stream.timings.queue_s = Seconds(stream.submitted, begin);
  }
  stream.output.embedding = std::move(update.embedding);
  if (update.scores.empty()) return;
  stream.output.prompt_logprobs.emplace_back(std::nullopt);
  for (const PositionScores& scores : update.scores) {
    stream.output.prompt_logprobs.emplace_back(WithTexts(scores));
  }
}

PositionLogprobs OutputProcessor::WithTexts(const PositionScores& scores) const {
  const auto with_text = [this](const PositionScores::Entry& entry) {
    return TokenLogprob{entry.token, entry.logprob, entry.rank, text_.TokenBytes(entry.token)};
  };
  PositionLogprobs logprobs;
  logprobs.token = with_text(scores.token);
  for (const auto& entry : scores.top) logprobs.top.push_back(with_text(entry));
  return logprobs;
}

// Adds token `i` of the update; true if its text completes a stop string.
bool OutputProcessor::AddToken(Stream& stream, ChoiceStream& choice, ChoiceUpdate& update, size_t i,
                               CompletionDelta& delta) {
  const SamplingParams& params = stream.request->params;
  delta.token_ids.push_back(update.tokens[i]);
  ++choice.num_tokens;
  ++stream.usage.completion_tokens;
  if (i < update.scores.size()) {
    choice.cumulative_logprob += static_cast<double>(update.scores[i].token.logprob);
    delta.logprobs.push_back(WithTexts(update.scores[i]));
  }
  const bool last = i + 1 == update.tokens.size();
  const bool ends_choice = last && update.finish_reason == FinishReason::kStop;
  if (choice.detokenizer == nullptr) return false;
  std::string piece;
  if (!ends_choice || params.include_stop_str_in_output) {
    piece = choice.detokenizer->Push(update.tokens[i]);
  }
  if (last && update.finish_reason) piece += choice.detokenizer->Finish();
  if (!piece.empty() && !choice.prompt_rest.empty()) {
    if (piece.starts_with(choice.prompt_rest)) piece.erase(0, choice.prompt_rest.size());
    choice.prompt_rest.clear();
  }
  const auto match = choice.stops.Push(piece, choice.num_tokens > params.min_tokens);
  if (match) delta.stop_string = match->stop;
  return match.has_value();
}

void OutputProcessor::AddChoice(Stream& stream, ChoiceUpdate& update, SteadyTime now, News& news) {
  ChoiceStream& choice = stream.choices[static_cast<size_t>(update.index)];
  if (choice.finish_reason) return;  // tokens computed before the step thread knew
  if (!update.tokens.empty()) {
    if (!stream.first_token) stream.first_token = now;
    if (choice.last_token) news.gaps_s.push_back(Seconds(*choice.last_token, now));
    stream.last_token = now;
    choice.last_token = now;
  }
  CompletionDelta delta;
  delta.index = update.index;
  bool stopped = false;
  for (size_t i = 0; i < update.tokens.size() && !stopped; ++i) {
    stopped = AddToken(stream, choice, update, i, delta);
  }
  if (update.tokens.empty() && update.finish_reason && choice.detokenizer != nullptr) {
    const std::string rest = choice.detokenizer->Finish();  // aborted between steps
    if (choice.prompt_rest.empty()) choice.stops.Push(rest, false);
  }
  if (stopped) {
    if (!update.finish_reason) news.stopped.push_back({update.request_id, update.index});
    choice.finish_reason = FinishReason::kStop;
  } else {
    choice.finish_reason = update.finish_reason;
    delta.stop_token_id = update.stop_token_id;
  }
  delta.finish_reason = choice.finish_reason;
  delta.text = choice.stops.Take(choice.finish_reason.has_value());
  delta.cumulative_logprob = update.cumulative_logprob.value_or(choice.cumulative_logprob);
  if (!update.status.ok()) stream.status = std::move(update.status);
  if (choice.finish_reason) --stream.num_open;
  stream.output.choices.push_back(std::move(delta));
}

void OutputProcessor::Deliver(Stream& stream, SteadyTime now, News& news) {
  stream.touched = false;
  RequestOutput output = std::exchange(stream.output, {});
  output.finished = stream.num_open == 0;
  if (output.choices.empty() && output.prompt_logprobs.empty() && !output.finished) return;
  output.request_id = stream.request->id;
  output.usage = stream.usage;
  if (stream.first_token) {
    stream.timings.first_token_s = Seconds(stream.submitted, *stream.first_token);
    stream.timings.prefill_s = Seconds(stream.scheduled, *stream.first_token);
    stream.timings.decode_s = Seconds(*stream.first_token, stream.last_token);
  }
  stream.timings.e2e_s = Seconds(stream.submitted, now);
  output.timings = stream.timings;
  if (!output.finished) {
    news.deliveries.emplace_back(stream.callback, std::move(output));
    return;
  }
  output.status = std::move(stream.status);

  const FinishReason reason = stream.choices.front().finish_reason.value_or(FinishReason::kAbort);
  news.finished.push_back({stream.request->id, reason, stream.usage, stream.timings});
  news.deliveries.emplace_back(std::move(stream.callback), std::move(output));
  streams_.erase(news.finished.back().id);
}

}  // namespace octavo
