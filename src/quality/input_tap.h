// SPDX-License-Identifier: Apache-2.0
// Watches the inputs of a layer's linears: channel statistics, and a sample of rows.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "layers/step.h"
#include "quality/channel_stats.h"

namespace octavo {

class InputTap {
 public:
  // Samples about `sample_rows` of `expected_rows` rows per slot, evenly; 0 samples none.
  InputTap(int64_t sample_rows, int64_t expected_rows);

  // The function to hand to a step. It refers to this object.
  LinearTap AsTap() {
    return [this](std::string_view slot, const ActivationView& x) { Add(slot, x); };
  }

  struct Slot {
    ChannelStats stats;
    std::vector<float> sample;  // [rows, k], decoded
  };
  std::map<std::string, Slot, std::less<>>& slots() { return slots_; }

 private:
  void Add(std::string_view slot, const ActivationView& x);

  const int64_t sample_rows_;
  const int64_t stride_;
  std::map<std::string, Slot, std::less<>> slots_;
};

}  // namespace octavo
