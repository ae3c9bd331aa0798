// SPDX-License-Identifier: Apache-2.0
// Beam search over scored candidates: which beams go on, which are complete, when it is over.
//
// As vLLM's: each step every beam offers its 2 * width most likely tokens; end tokens complete a
// hypothesis, the best `width` of the rest become the new beams. A hypothesis scores
// cumulative_logprob / length^length_penalty, where length counts prompt and output without the end
// token. Stops as soon as no open beam can still enter the best `width`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace octavo {

struct BeamHypothesis {
  std::vector<int32_t> output;  // without the prompt, with the end token
  double cumulative_logprob = 0;
  double score = 0;
  bool ended = false;  // by an end token, not by length
};

class BeamSearch {
 public:
  BeamSearch(int32_t width, double length_penalty, int64_t num_prompt, int64_t max_tokens)
      : width_(width),
        length_penalty_(length_penalty),
        num_prompt_(num_prompt),
        max_tokens_(max_tokens),
        beams_(1) {}

  // A beam that goes on: `parent` is the index of the old beam it extends by `token`.
  struct Extension {
    int32_t parent = 0;
    int32_t token = 0;
  };

  // One step. `candidates[b]`: the most likely tokens after beam b. Returns the new beams, best
  // first; empty when the search is over.
  std::vector<Extension> Advance(std::span<const std::vector<PositionScores::Entry>> candidates,
                                 const std::function<bool(int32_t)>& is_end);

  size_t num_beams() const { return beams_.size(); }

  // After the end: the best `width` hypotheses, best first.
  std::vector<BeamHypothesis> Finish() &&;

 private:
  double Score(double cumulative_logprob, int64_t num_output) const;
  bool CanImprove() const;

  int32_t width_;
  double length_penalty_;
  int64_t num_prompt_;
  int64_t max_tokens_;
  std::vector<BeamHypothesis> beams_;
  std::vector<BeamHypothesis> completed_;
};

}  // namespace octavo
