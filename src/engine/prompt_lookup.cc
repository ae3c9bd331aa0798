// SPDX-License-Identifier: Apache-2.0
// Suffix search over a sequence's own tokens.
#include "engine/prompt_lookup.h"

#include <algorithm>

namespace octavo {
namespace {

// Length of the common suffix of tokens[0, end) and the whole, at most `limit`.
int64_t CommonSuffix(std::span<const int32_t> tokens, int64_t end, int64_t limit) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t length = 0;
  while (length < std::min(limit, end) && tokens[static_cast<size_t>(end - 1 - length)] ==
                                              tokens[static_cast<size_t>(size - 1 - length)]) {
    ++length;
  }
  return length;
}

}  // namespace

std::vector<int32_t> ProposeByPromptLookup(std::span<const int32_t> tokens,
                                           const PromptLookupOptions& options, int64_t count) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t best_length = options.min_ngram - 1;
  int64_t best_end = 0;
  for (int64_t end = size - 1; end >= options.min_ngram; --end) {
    const int64_t length = CommonSuffix(tokens, end, options.max_ngram);
    if (length <= best_length) continue;
    best_length = length;
    best_end = end;
    if (length == options.max_ngram) break;
  }
  if (best_end == 0 || count <= 0) return {};
  const auto follow = tokens.subspan(static_cast<size_t>(best_end));
  return {follow.begin(), follow.begin() + std::min<int64_t>(count, size - best_end)};
}

int64_t DraftPacer::NextCount(int32_t limit) {
  if (pause_ > 0) {
    --pause_;
    return 0;
  }
  return std::min<int64_t>(length_, limit);
}

void DraftPacer::Observe(int64_t proposed, int64_t accepted) {
  if (proposed == 0) return;
  if (accepted == 0) {
    constexpr int64_t kLongestPause = 32;
    length_ = 2;
    pause_ = next_pause_;
    next_pause_ = std::min(next_pause_ * 2, kLongestPause);
    return;
  }
  next_pause_ = 1;
  length_ = accepted == proposed ? length_ * 2 : accepted + 1;
}

}  // namespace octavo
