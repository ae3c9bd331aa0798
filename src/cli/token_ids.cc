// SPDX-License-Identifier: Apache-2.0
// Parsing of token id lists.
#include "cli/token_ids.h"

#include <fmt/format.h>

#include <charconv>

namespace octavo {

Result<std::vector<int32_t>> ParseTokenIds(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  const size_t last = text.find_last_not_of(kSpace);
  if (first == text.npos) return std::vector<int32_t>{};
  text = text.substr(first, last - first + 1);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }

  constexpr std::string_view kSeparators = ", \t\r\n";
  std::vector<int32_t> ids;
  while (true) {
    const size_t begin = text.find_first_not_of(kSeparators);
    if (begin == text.npos) return ids;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    int32_t id = -1;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0) {
      return InvalidArgument(
          fmt::format("'{}' is no token id, want a number from 0 to 2147483647", word.substr(0, 40)));
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

}  // namespace octavo
