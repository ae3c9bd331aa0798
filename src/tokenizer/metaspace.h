// SPDX-License-Identifier: Apache-2.0
// Settings of the Metaspace pre-tokenizer and decoder.
#pragma once

#include <string>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct MetaspaceConfig {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement = "\xE2\x96\x81";  // U+2581
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

// Reads the current keys (prepend_scheme, split) and the old ones (add_prefix_space, str_rep).
Result<MetaspaceConfig> ParseMetaspace(const Json& config);

}  // namespace octavo
