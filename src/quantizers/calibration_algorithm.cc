// SPDX-License-Identifier: Apache-2.0
// The table of algorithms.
#include "quantizers/calibration_algorithm.h"

#include <fmt/format.h>

#include <array>

namespace octavo {
namespace {

constexpr std::array<CalibrationAlgorithm, 6> kAlgorithms = {{
    {.name = "gptq", .summary = "second-order rounding (integer schemes)", .gptq = true},
    {.name = "awq", .summary = "activation-aware scales (integer groups)", .awq = true},
    {.name = "awq+clip", .summary = "the same and clipping limits", .awq = true, .clip = true},
    {.name = "smoothquant", .summary = "outliers move into the weights (8-bit activations)",
     .smoothquant = true},
    {.name = "smoothquant+gptq", .summary = "both", .smoothquant = true, .gptq = true},
    {.name = "qoq", .summary = "rotation, smoothing, clipping and gptq for W4A8KV4 (integer schemes)",
     .gptq = true, .clip = true, .qoq = true},
}};

}  // namespace

Status CalibrationAlgorithm::Accepts(const Scheme& scheme) const {
  const QuantArgs& weights = scheme.args.weights;
  const auto refuse = [&](std::string_view want) {
    return InvalidArgument(fmt::format("algorithm {} wants {}; scheme {} has {}", name, want,
                                       scheme.name, Describe(scheme.args)));
  };
  const bool plain_int = weights.type == QuantType::kInt && scheme.method == "compressed-tensors";
  const bool any_int = plain_int || scheme.method == "octavo_qoq";
  const bool rows = weights.strategy == Strategy::kGroup || weights.strategy == Strategy::kChannel;
  if (gptq && !(any_int && rows)) return refuse("integer weights per channel or group");
  if (awq && !(any_int && weights.strategy == Strategy::kGroup)) {
    return refuse("integer weights in groups");
  }
  if (smoothquant && (!scheme.args.input || scheme.method != "compressed-tensors")) {
    return refuse("8-bit activations");
  }
  return Status::Ok();
}

std::span<const CalibrationAlgorithm> CalibrationAlgorithms() { return kAlgorithms; }

const CalibrationAlgorithm* FindCalibrationAlgorithm(std::string_view name) {
  for (const CalibrationAlgorithm& algorithm : kAlgorithms) {
    if (algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

}  // namespace octavo
