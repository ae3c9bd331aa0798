// SPDX-License-Identifier: Apache-2.0
// The beam step.
#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace octavo {
namespace {

bool Better(const BeamHypothesis& a, const BeamHypothesis& b) { return a.score > b.score; }

}  // namespace

double BeamSearch::Score(double cumulative_logprob, int64_t num_output) const {
  const auto length = static_cast<double>(num_prompt_ + num_output);
  return cumulative_logprob / std::pow(length, length_penalty_);
}

std::vector<BeamSearch::Extension> BeamSearch::Advance(
    std::span<const std::vector<PositionScores::Entry>> candidates,
    const std::function<bool(int32_t)>& is_end) {
  struct Open {
    Extension extension;
    double cumulative_logprob;
  };
  std::vector<Open> open;
  const auto num_output = static_cast<int64_t>(beams_.front().output.size());
  for (size_t b = 0; b < candidates.size(); ++b) {
    for (const auto& [token, logprob, rank] : candidates[b]) {
      const double sum = beams_[b].cumulative_logprob + static_cast<double>(logprob);
      if (!is_end(token)) {
        open.push_back({{static_cast<int32_t>(b), token}, sum});
        continue;
      }
      BeamHypothesis done = beams_[b];
      done.output.push_back(token);
      done.cumulative_logprob = sum;
      done.score = Score(sum, num_output);
      done.ended = true;
      completed_.push_back(std::move(done));
    }
  }
  // All open beams have the same length, so the sum alone orders them.
  std::stable_sort(open.begin(), open.end(), [](const Open& a, const Open& b) {
    return a.cumulative_logprob > b.cumulative_logprob;
  });
  if (open.size() > static_cast<size_t>(width_)) open.resize(static_cast<size_t>(width_));

  std::vector<Extension> extensions;
  std::vector<BeamHypothesis> beams;
  for (const Open& o : open) {
    BeamHypothesis beam = beams_[static_cast<size_t>(o.extension.parent)];
    beam.output.push_back(o.extension.token);
    beam.cumulative_logprob = o.cumulative_logprob;
    beam.score = Score(o.cumulative_logprob, num_output + 1);
    beams.push_back(std::move(beam));
    extensions.push_back(o.extension);
  }
  beams_ = std::move(beams);
  std::stable_sort(completed_.begin(), completed_.end(), Better);
  if (completed_.size() > static_cast<size_t>(width_)) {
    completed_.resize(static_cast<size_t>(width_));
  }
  if (num_output + 1 >= max_tokens_ || !CanImprove()) extensions.clear();
  return extensions;
}

// Log-probabilities only sum downwards, so a beam's score can rise no higher than its present sum
// over the largest length.
bool BeamSearch::CanImprove() const {
  if (completed_.size() < static_cast<size_t>(width_)) return !beams_.empty();
  const double worst = completed_.back().score;
  return std::any_of(beams_.begin(), beams_.end(), [&](const BeamHypothesis& beam) {
    const auto now = static_cast<int64_t>(beam.output.size());
    return std::max(Score(beam.cumulative_logprob, now),
                    Score(beam.cumulative_logprob, max_tokens_)) > worst;
  });
}

std::vector<BeamHypothesis> BeamSearch::Finish() && {
  std::vector<BeamHypothesis> all = std::move(completed_);
  all.insert(all.end(), std::make_move_iterator(beams_.begin()),
             std::make_move_iterator(beams_.end()));
  std::stable_sort(all.begin(), all.end(), Better);
  if (all.size() > static_cast<size_t>(width_)) all.resize(static_cast<size_t>(width_));
  return all;
}

}  // namespace octavo
