// SPDX-License-Identifier: Apache-2.0
// The requests that `octavo bench serve` sends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/status.h"

namespace octavo {

struct BenchDataOptions {
  std::string dataset = "random";  // random, prefix_repetition, file
  std::string file;                // file: one prompt per line
  int64_t num_prompts = 100;
  int64_t input_len = 512;         // random; suffix length of prefix_repetition
  int64_t output_len = 128;
  double range_ratio = 0;          // lengths are uniform in [len * (1 - r), len * (1 + r)]
  int64_t prefix_len = 256;        // prefix_repetition
  int64_t num_prefixes = 10;       // prefix_repetition
  int64_t vocab_size = 0;          // token ids are drawn below it
  double temperature = 0;
  bool ignore_eos = true;
  std::string model;               // "model" of every request
  uint64_t seed = 0;
};

// JSON bodies of /v1/completions, streamed with usage. The same options give the same bodies.
Result<std::vector<std::string>> MakeBenchBodies(const BenchDataOptions& options);

}  // namespace octavo
