// SPDX-License-Identifier: Apache-2.0
// What kernel tests share: the ISA levels this machine runs, and reproducible random rows.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/cpu_features.h"

namespace octavo::testing {

// Every level from kReference to DetectedIsa().
inline std::vector<IsaLevel> RunnableIsaLevels() {
  std::vector<IsaLevel> levels;
  for (int i = 0; i <= static_cast<int>(DetectedIsa()); ++i) {
    levels.push_back(static_cast<IsaLevel>(i));
  }
  return levels;
}

// `n` normal numbers with standard deviation `sigma`. The same seed gives the same numbers.
inline std::vector<float> RandomNormal(int64_t n, uint32_t seed, float sigma = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(generator);
  return values;
}

}  // namespace octavo::testing
