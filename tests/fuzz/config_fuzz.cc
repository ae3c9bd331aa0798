// SPDX-License-Identifier: Apache-2.0
// Fuzz target: config.json. Normalizing twice must change nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "io/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const auto json = ParseJson(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!json.ok()) return 0;
  const auto once = NormalizeConfig(*json);
  if (!once.ok()) return 0;
  const auto twice = NormalizeConfig(*once);
  if (!twice.ok() || DumpJson(*once) != DumpJson(*twice)) std::abort();
  return 0;
}
