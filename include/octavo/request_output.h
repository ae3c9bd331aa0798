// SPDX-License-Identifier: Apache-2.0
// What an engine hands back for a request, piece by piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo {

using RequestId = uint64_t;

enum class FinishReason : uint8_t {
  kStop,    // end-of-sequence token, stop token or stop string
  kLength,  // max_tokens or max_model_len
  kAbort,   // Abort() or shutdown
  kError,   // RequestOutput::status says what
};

// "stop", "length", "abort", "error".
std::string_view NameOf(FinishReason reason);

// One token with its natural-log probability under the raw logits.
struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0;
  int32_t rank = 0;   // 1 = the most likely token of the position
  std::string bytes;  // the token's text alone; may be a part of a UTF-8 character
};

struct PositionLogprobs {
  TokenLogprob token;  // the token that is in the text
  std::vector<TokenLogprob>
      top;  // the most likely ones, best first; holds `token` only if it is one
};

// News of one choice. All fields are what came since the last delta of the same index.
struct CompletionDelta {
  int32_t index = 0;
  // Complete UTF-8 characters only; text that may still become a stop string is held back, so it
  // can lag behind token_ids until the choice is finished.
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<PositionLogprobs> logprobs;     // per token of token_ids, when asked for
  std::optional<FinishReason> finish_reason;  // set in the last delta of a choice
  std::optional<int32_t> stop_token_id;       // the token that ended it, when one of stop_token_ids
  std::string stop_string;                    // the stop string that ended it
  double cumulative_logprob = 0;  // over all its tokens so far; 0 unless logprobs or beam search
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;      // of them, found in the prefix cache
  int64_t completion_tokens = 0;  // of all choices
};

// Seconds between events of a request; taken with a steady clock.
struct RequestTimings {
  double queue_s = 0;        // submitted -> first scheduled
  double prefill_s = 0;      // first scheduled -> first token
  double first_token_s = 0;  // submitted -> first token
  double decode_s = 0;       // first token -> last token
  double e2e_s = 0;          // submitted -> finished
};

// One delivery. Deltas of different choices of a request may come together or apart.
struct RequestOutput {
  RequestId request_id = 0;
  std::vector<CompletionDelta> choices;
  // In one output of a request that asked: one entry per prompt token, the first one empty.
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs;
  // Of an embedding request: [hidden_size], in its last output.
  std::vector<float> embedding;
  bool finished = false;   // the last output of the request; nothing follows
  Status status;           // not OK only with `finished`: why the request failed
  Usage usage;             // up to now
  RequestTimings timings;  // complete when finished
};

}  // namespace octavo
