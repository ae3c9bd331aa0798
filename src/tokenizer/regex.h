// SPDX-License-Identifier: Apache-2.0
// Regular expressions by Oniguruma, the engine whose syntax tokenizer.json files are written in.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo {

// Half-open byte range.
struct Range {
  size_t begin;
  size_t end;
};

// A compiled pattern over UTF-8. Immutable; searching is thread-safe.
class Regex {
 public:
  // Fails with the engine's message on a bad pattern or one longer than 64 KiB.
  static Result<std::unique_ptr<Regex>> Compile(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Calls `on_match` for each non-overlapping match of valid UTF-8, in order. An empty match right
  // behind another match is skipped. Fails when the engine's backtracking limits are reached.
  Status ForEachMatch(std::string_view text, const std::function<void(Range)>& on_match) const;

 private:
  struct Engine;
  explicit Regex(std::unique_ptr<Engine> engine);
  std::unique_ptr<Engine> engine_;
};

// Prepares Oniguruma's global tables; idempotent and thread-safe.
void InitializeRegexEngine();

}  // namespace octavo
