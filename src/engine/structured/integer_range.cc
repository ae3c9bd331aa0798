// SPDX-License-Identifier: Apache-2.0
// Splits a range into digit patterns.
#include "engine/structured/integer_range.h"

#include <algorithm>
#include <string>
#include <vector>

namespace octavo {
namespace {

using Expr = GrammarBuilder::Expr;

Expr Digit(char low, char high, GrammarBuilder& b) {
  return b.Byte(static_cast<uint8_t>(low), static_cast<uint8_t>(high));
}

// Digit strings of equal length from `low` to `high`.
Expr SameLength(const std::string& low, const std::string& high, GrammarBuilder& b) {
  if (low.empty()) return b.Empty();
  const std::string low_rest = low.substr(1);
  const std::string high_rest = high.substr(1);
  if (low[0] == high[0]) {
    return b.Sequence({Digit(low[0], low[0], b), SameLength(low_rest, high_rest, b)});
  }
  const auto length = static_cast<int32_t>(low_rest.size());
  const std::string zeros(low_rest.size(), '0');
  const std::string nines(low_rest.size(), '9');
  char first = low[0];
  char last = high[0];
  std::vector<Expr> options;
  if (low_rest != zeros) {
    options.push_back(b.Sequence({Digit(first, first, b), SameLength(low_rest, nines, b)}));
    ++first;
  }
  if (high_rest != nines) {
    options.push_back(b.Sequence({Digit(last, last, b), SameLength(zeros, high_rest, b)}));
    --last;
  }
  if (first <= last) {
    options.push_back(
        b.Sequence({Digit(first, last, b), b.Repeat(Digit('0', '9', b), length, length)}));
  }
  return b.Choice(std::move(options));
}

// Texts of the integers from low >= 0 to the number `end` spells; empty: without end.
Expr NonNegative(int64_t low, const std::string& end, GrammarBuilder& b) {
  std::vector<Expr> options;
  std::string text = std::to_string(low);
  while (end.empty() || text.size() < end.size()) {
    options.push_back(SameLength(text, std::string(text.size(), '9'), b));
    text = "1" + std::string(text.size(), '0');
    if (end.empty()) {  // every longer number
      const auto digits = static_cast<int32_t>(text.size()) - 1;
      options.push_back(b.Sequence(
          {Digit('1', '9', b), b.Repeat(Digit('0', '9', b), digits, GrammarBuilder::kUnbounded)}));
      return b.Choice(std::move(options));
    }
  }
  options.push_back(SameLength(text, end, b));
  return b.Choice(std::move(options));
}

}  // namespace

Expr AddIntegerRange(const IntegerRange& range, GrammarBuilder& b) {
  std::vector<Expr> options;
  if (!range.min || *range.min < 0) {
    const int64_t smallest = range.max && *range.max < 0 ? -*range.max : 1;
    const std::string largest = range.min ? std::to_string(-*range.min) : "";
    options.push_back(b.Sequence({b.Literal("-"), NonNegative(smallest, largest, b)}));
  }
  if (!range.max || *range.max >= 0) {
    const int64_t smallest = std::max<int64_t>(range.min.value_or(0), 0);
    options.push_back(NonNegative(smallest, range.max ? std::to_string(*range.max) : "", b));
  }
  return b.Choice(std::move(options));
}

}  // namespace octavo
