// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions: the request's fields and the replies' format.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "octavo/engine.h"
#include "server/field_reader.h"
#include "server/reply_formatter.h"
#include "server/sampling_fields.h"

namespace octavo::server {

struct CompletionRequest {
  std::string model;
  std::vector<GenerationRequest> prompts;  // One per prompt, parameters alike.
  StreamFields stream;
  bool echo = false;                // The prompt's text (and logprobs) before the completion's.
  bool tokens_as_ids = false;       // "token_id:123" for texts in logprobs.
  bool return_token_ids = false;
};

// Text or token ids, one or many, as "prompt" and "input" allow.
void ReadPrompts(FieldReader& reader, std::string_view key, size_t max_prompts,
                 const GenerationRequest& defaults, std::vector<GenerationRequest>& out);

// Reads the whole body; errors stick to the reader.
CompletionRequest ReadCompletionRequest(FieldReader& reader, const RequestLimits& limits,
                                        const SamplingParams& defaults);

struct CompletionFormat {
  std::string id;     // "cmpl-..."
  std::string model;  // as served
  int64_t created = 0;
  int32_t n = 1;
  bool echo = false;
  bool logprobs = false;
  bool prompt_logprobs_asked = false;  // by the client, beyond what echo needs
  bool tokens_as_ids = false;
  bool return_token_ids = false;
  bool continuous_usage_stats = false;
  std::vector<std::string> prompt_texts;                // for echo, per prompt
  std::vector<std::vector<int32_t>> prompt_token_ids;   // for echo and return_token_ids, per prompt
  std::vector<std::string> first_token_bytes;           // for echo with logprobs, per prompt
};
std::unique_ptr<ReplyFormatter> MakeCompletionFormatter(CompletionFormat format);

}  // namespace octavo::server
