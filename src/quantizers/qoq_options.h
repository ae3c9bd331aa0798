// SPDX-License-Identifier: Apache-2.0
// The switches of QoQ: which of its transforms are applied, and how strongly.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct QoqOptions {
  bool rotate = true;            // residual stream (rotate_checkpoint.h)
  bool rotate_values = true;     // heads of v_proj's output
  bool center_keys = true;       // key_center_file.h, for 8- and 4-bit KV caches
  bool smooth_attention = true;  // smooth_attention.h
  bool reorder = true;           // channel_order.h; schemes with groups only
  bool smooth_output = true;     // inputs of down_proj, by smoothing.h
  bool clip = true;              // awq.h's limits
  bool gptq = true;
  double smooth_attention_strength = 0.5;
  // Share of the difficulty that smooth_output leaves in the weights of down_proj; below 0: 0.15 with
  // groups, 0.05 per channel.
  double smooth_output_strength = -1;
};

// The names of the switches, in the order in which transforms are applied.
std::vector<std::string> QoqTransformNames();

// Switches on what `names` lists and everything else off. "all" and "none" stand alone.
// Errors: InvalidArgument listing the names.
Status SetQoqTransforms(const std::vector<std::string>& names, QoqOptions& options);

// The names of what is switched on.
std::vector<std::string> QoqTransformsOf(const QoqOptions& options);

// For fingerprints and reports.
Json ToJson(const QoqOptions& options);

}  // namespace octavo
