// SPDX-License-Identifier: Apache-2.0
// Decimal integers within bounds, as grammar expressions.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/structured/grammar.h"

namespace octavo {

struct IntegerRange {
  static constexpr int64_t kLimit = 1'000'000'000'000'000'000;  // 10^18
  std::optional<int64_t> min;                                   // |bounds| <= kLimit + 1
  std::optional<int64_t> max;
};

// Canonical decimal texts (no leading zeros, no "-0") of all integers in the range. Requires min <=
// max.
GrammarBuilder::Expr AddIntegerRange(const IntegerRange& range, GrammarBuilder& builder);

}  // namespace octavo
