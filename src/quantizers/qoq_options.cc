// SPDX-License-Identifier: Apache-2.0
// Names of QoQ's switches.
#include "quantizers/qoq_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace octavo {
namespace {

struct Switch {
  std::string_view name;
  bool QoqOptions::*on;
};

constexpr std::array<Switch, 8> kSwitches = {{{"rotate", &QoqOptions::rotate},
                                              {"rotate-values", &QoqOptions::rotate_values},
                                              {"center-keys", &QoqOptions::center_keys},
                                              {"smooth-attention", &QoqOptions::smooth_attention},
                                              {"reorder", &QoqOptions::reorder},
                                              {"smooth-output", &QoqOptions::smooth_output},
                                              {"clip", &QoqOptions::clip},
                                              {"gptq", &QoqOptions::gptq}}};

}  // namespace

std::vector<std::string> QoqTransformNames() {
  std::vector<std::string> names;
  for (const Switch& entry : kSwitches) names.emplace_back(entry.name);
  return names;
}

Status SetQoqTransforms(const std::vector<std::string>& names, QoqOptions& options) {
  const bool all = names.size() == 1 && names.front() == "all";
  const bool none = names.size() == 1 && names.front() == "none";
  for (const Switch& entry : kSwitches) options.*entry.on = all;
  if (all || none) return Status::Ok();
  for (const std::string& name : names) {
    bool known = false;
    for (const Switch& entry : kSwitches) {
      if (entry.name != name) continue;
      options.*entry.on = true;
      known = true;
    }
    if (known) continue;
    return InvalidArgument(fmt::format("transform '{}': unknown (want all, none, or some of {})", name,
                                       fmt::join(QoqTransformNames(), ", ")));
  }
  return Status::Ok();
}

std::vector<std::string> QoqTransformsOf(const QoqOptions& options) {
  std::vector<std::string> names;
  for (const Switch& entry : kSwitches) {
    if (options.*entry.on) names.emplace_back(entry.name);
  }
  return names;
}

Json ToJson(const QoqOptions& options) {
  return {{"transforms", QoqTransformsOf(options)},
          {"smooth_attention_strength", options.smooth_attention_strength},
          {"smooth_output_strength", options.smooth_output_strength}};
}

}  // namespace octavo
