// SPDX-License-Identifier: Apache-2.0
// Turns engine outputs into the JSON of one kind of reply (completion, chat, embedding).
#pragma once

#include <cstddef>
#include <string>

#include "base/json.h"
#include "octavo/request_output.h"

namespace octavo::server {

// One object per HTTP request; calls do not overlap. `prompt` is the index of the GenerationRequest
// within the HTTP request.
class ReplyFormatter {
 public:
  virtual ~ReplyFormatter() = default;

  // Streaming: appends the events that come before any token.
  virtual void Begin(std::string& events) = 0;
  // Streaming: appends the events of one output; `usage` is that of the whole HTTP request so far.
  virtual void Stream(size_t prompt, RequestOutput output, const Usage& usage,
                      std::string& events) = 0;
  // Streaming: the last chunk, with usage and no choices.
  virtual Json UsageChunk(const Usage& usage) = 0;

  // Whole replies: takes an output in; after the last of all prompts, Result makes the body.
  virtual void Collect(size_t prompt, RequestOutput output) = 0;
  virtual Json Result(const Usage& usage) = 0;
};

// Appends "data: <json>\n\n".
void AppendEvent(std::string& events, const Json& json);

// {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}.
Json UsageJson(const Usage& usage);

// "stop", "length", ...; null while there is none.
Json FinishReasonJson(const std::optional<FinishReason>& reason);

// JSON has no -infinity: log-probabilities are clamped at -9999, as vLLM does.
double FiniteLogprob(float logprob);

// A token's bytes as a JSON-safe text; bytes that are no UTF-8 alone become U+FFFD.
std::string TokenText(const TokenLogprob& token, bool as_id);

// Number of code points, which is how Python clients count offsets.
size_t CountCodePoints(std::string_view text);

// Cuts text at a valid end and replaces what is no UTF-8 by U+FFFD.
std::string SanitizeUtf8(std::string_view text);

// {"type": "prompt logprobs"}: vLLM's array of null or {token id: {logprob, rank, decoded_token}}.
Json PromptLogprobsJson(const std::vector<std::optional<PositionLogprobs>>& positions);

}  // namespace octavo::server
