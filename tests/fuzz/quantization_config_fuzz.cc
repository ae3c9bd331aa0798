// SPDX-License-Identifier: Apache-2.0
// Fuzz target: the quantization_config of a config.json, and what it says about some modules.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "schemes/quantization_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  auto json = ParseJson(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!json.ok()) return 0;
  const auto config = QuantizationConfig::FromModelConfig({{"quantization_config", *json}});
  if (!config.ok()) return 0;
  for (const std::string_view module :
       {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head", ""}) {
    const auto resolved = config->Resolve(module);
    if (resolved.ok() && resolved->scheme == nullptr) std::abort();
  }
  return 0;
}
