// SPDX-License-Identifier: Apache-2.0
// Speculative decoding without a draft model: what followed the last time these tokens occurred?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octavo {

struct PromptLookupOptions {
  int32_t num_tokens = 0;  // most tokens to propose; 0: off
  int32_t max_ngram = 4;   // suffix lengths tried, longest first
  int32_t min_ngram = 2;
};

// Finds the longest suffix of `tokens` (of min_ngram to max_ngram tokens) that occurs earlier, and
// of its occurrences the latest, and returns up to `count` tokens that followed it. Differs from
// vLLM: latest instead of earliest occurrence, which repeats recent phrasing.
std::vector<int32_t> ProposeByPromptLookup(std::span<const int32_t> tokens,
                                           const PromptLookupOptions& options, int64_t count);

// How many tokens to propose for one sequence: more while proposals come true, fewer when they do
// not, with pauses when they never do, so that hopeless text costs next to nothing.
class DraftPacer {
 public:
  int64_t NextCount(int32_t limit);
  void Observe(int64_t proposed, int64_t accepted);

 private:
  int64_t length_ = 2;
  int64_t pause_ = 0;  // steps left without proposals
  int64_t next_pause_ = 1;
};

}  // namespace octavo
