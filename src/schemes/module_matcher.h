// SPDX-License-Identifier: Apache-2.0
// Matches module names against the target and ignore lists of quantization configs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo {

// A list of matchers, each
//   "model.layers.0.mlp.down_proj"  the exact full name of a module,
//   "re:.*down_proj$"               a regular expression, anchored at the start only (re.match),
//   "Linear"                        the class of the module.
// Expressions are run by Oniguruma in Python-like syntax with a bound on match steps, so that a
// hostile pattern costs milliseconds and not minutes. Thread-safe after Compile.
class ModuleMatcher {
 public:
  // How specific the best match is; compressed-tensors prefers names, then expressions, then classes.
  enum class Match { kNone, kClass, kRegex, kName };

  ModuleMatcher();
  ModuleMatcher(ModuleMatcher&&) noexcept;
  ModuleMatcher& operator=(ModuleMatcher&&) noexcept;
  ~ModuleMatcher();

  // Errors: InvalidArgument for an expression that does not compile.
  static Result<ModuleMatcher> Compile(const std::vector<std::string>& patterns);

  // Errors: ResourceExhausted when an expression needs more steps than the bound.
  Result<Match> Find(std::string_view module, std::string_view module_class) const;

  // A substring test instead (AWQ's modules_to_not_convert): whether any pattern is part of `module`.
  bool ContainsAny(std::string_view module) const;

  const std::vector<std::string>& patterns() const { return patterns_; }

 private:
  struct Regex;
  std::vector<std::string> patterns_;
  std::vector<std::unique_ptr<Regex>> regexes_;  // by pattern; null for plain names
};

}  // namespace octavo
