// SPDX-License-Identifier: Apache-2.0
// For tests: beam search over the fake model's logits, written down as textbooks have it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/fake_executor.h"
#include "engine/sampler.h"

namespace octavo::testing {

struct TextbookBeams {
  struct Beam {
    std::vector<int32_t> tokens;  // prompt included
    double sum = 0;               // of logprobs
  };

  TextbookBeams(const std::vector<int32_t>& prompt, size_t beam_width, int64_t vocab,
                int32_t eos_token)
      : beams{{prompt, 0}}, width(beam_width), eos(eos_token), logits(static_cast<size_t>(vocab)) {}

  // Every beam grows by each of its 2 x width likeliest tokens; the best `width` that did not end
  // live on.
  void Step(std::span<const int64_t> windows) {
    std::vector<Beam> next;
    for (const Beam& beam : beams) {
      const auto last = static_cast<int64_t>(beam.tokens.size()) - 1;
      FakeLogits(HistoryOf(beam.tokens, last, windows), logits);
      for (const auto& entry : sampler.Top(logits, static_cast<int32_t>(2 * width))) {
        Beam b = beam;
        b.tokens.push_back(entry.token);
        b.sum += static_cast<double>(entry.logprob);
        (entry.token == eos ? completed : next).push_back(std::move(b));
      }
    }
    std::stable_sort(next.begin(), next.end(),
                     [](const Beam& a, const Beam& b) { return a.sum > b.sum; });
    next.resize(std::min(width, next.size()));
    beams = std::move(next);
  }

  std::vector<Beam> beams;
  std::vector<Beam> completed;  // in the order they ended
  size_t width;
  int32_t eos;
  Sampler sampler;
  std::vector<float> logits;
};

}  // namespace octavo::testing
