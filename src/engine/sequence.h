// SPDX-License-Identifier: Apache-2.0
// One token sequence being computed: a choice of a request, or one beam of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/block_manager.h"
#include "engine/prompt_lookup.h"
#include "engine/sampler.h"
#include "engine/structured/token_constraint.h"
#include "octavo/engine.h"

namespace octavo {

// A validated request as the step thread sees it. Immutable.
struct EngineRequest {
  RequestId id = 0;
  std::vector<int32_t> prompt;
  SamplingParams params;
  uint64_t seed = 0;       // params.seed or one derived for this request
  int64_t max_tokens = 0;  // params.max_tokens, capped by max_model_len
  int32_t priority = 0;
  std::string cache_salt;
  Pooling pooling = Pooling::kNone;
  bool normalize_embedding = true;
  std::shared_ptr<ConstraintContext> constraint;  // of structured output, or null
};

enum class SequenceState : uint8_t {
  kWaiting,  // in the queue, holds no pages
  kRunning,  // holds pages
  kParked,   // a beam that lost its pages while it waits for its siblings
  kFinished,
};

struct Sequence {
  std::shared_ptr<const EngineRequest> request;
  int32_t index = 0;     // of the choice
  uint64_t arrival = 0;  // order of submission
  uint64_t serial = 0;   // order of creation, breaks ties
  SequenceState state = SequenceState::kWaiting;

  std::vector<int32_t> tokens;     // prompt, then output
  std::vector<int32_t> drafts;     // proposed continuation, not part of `tokens`
  int64_t num_computed = 0;        // tokens whose K and V are in the cache
  int32_t num_seats = 1;           // of max_num_seqs: the request's n before it forks
  bool skip_prefix_cache = false;  // its prompt positions all have to be computed
  bool ready = true;               // false while something it needs is being prepared
  SequenceBlocks blocks;
  TokenHistory history;                         // what penalties need
  std::shared_ptr<TokenConstraint> constraint;  // null: any token
  DraftPacer pacer;
  std::vector<PositionScores::Entry> candidates;  // of a beam that waits for its siblings

  int64_t num_prompt() const { return static_cast<int64_t>(request->prompt.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_output() const { return num_tokens() - num_prompt(); }
  int64_t num_drafts() const { return static_cast<int64_t>(drafts.size()); }
  // Tokens to compute before the next draw.
  int64_t num_pending() const { return num_tokens() - num_computed; }
};

// Order of service: who is smaller is served first and preempted last.
inline auto ServiceKey(const Sequence& s, SchedulingPolicy policy) {
  return std::tuple(policy == SchedulingPolicy::kPriority ? s.request->priority : 0, s.arrival,
                    s.serial);
}

}  // namespace octavo
