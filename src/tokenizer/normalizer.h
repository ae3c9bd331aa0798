// SPDX-License-Identifier: Apache-2.0
// The "normalizer" part of tokenizer.json: text to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites valid UTF-8 in place; the result is valid UTF-8.
  virtual Status Apply(std::string* text) const = 0;
};

// Builds the normalizer of a JSON component; null gives the identity (a null pointer). An
// unsupported type is refused by name.
Result<std::unique_ptr<Normalizer>> MakeNormalizer(const Json* config);

// {"String": s} or {"Regex": s}: the 'pattern' of normalizers, pre-tokenizers and decoders.
struct PatternConfig {
  bool is_regex = false;
  std::string text;
};
Result<PatternConfig> ParsePattern(const Json& component);

}  // namespace octavo
