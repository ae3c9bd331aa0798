// SPDX-License-Identifier: Apache-2.0
// Numbers become \d+.
#include "schemes/module_folder.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace octavo {
namespace {

bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// `name` as an expression in which whole components that are numbers stand for any number, but for the
// first `kept` of them. Empty when nothing is folded.
std::string Fold(std::string_view name, int kept) {
  std::string pattern = "re:";
  bool folded = false;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (begin > 0) pattern += "\\.";
    bool number = !part.empty();
    for (const char c : part) number = number && IsDigit(c);
    if (number && kept-- <= 0) {
      pattern += "\\d+";
      folded = true;
    } else {
      for (const char c : part) {
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
        if (!plain) pattern += '\\';
        pattern += c;
      }
    }
    begin = end + 1;
  }
  return folded ? pattern + "$" : "";
}

}  // namespace

ModuleFolder::ModuleFolder(std::vector<std::vector<std::string>> sets) : sets_(std::move(sets)) {
  for (size_t set = 0; set < sets_.size(); ++set) {
    for (const std::string& name : sets_[set]) {
      for (const int kept : {0, 1}) {
        std::vector<bool>& seen = sets_of_[Fold(name, kept)];
        seen.resize(sets_.size());
        seen[set] = true;
      }
    }
  }
}

std::vector<std::string> ModuleFolder::Patterns(size_t set) const {
  std::vector<std::string> patterns;
  std::unordered_set<std::string> listed;
  for (const std::string& name : sets_[set]) {
    std::string pattern = name;
    for (const int kept : {1, 0}) {  // the most general that fits wins
      std::string folded = Fold(name, kept);
      if (folded.empty()) continue;
      const std::vector<bool>& seen = sets_of_.at(folded);
      size_t count = 0;
      for (const bool in_set : seen) count += in_set ? 1 : 0;
      if (count == 1) pattern = std::move(folded);
    }
    if (listed.insert(pattern).second) patterns.push_back(std::move(pattern));
  }
  return patterns;
}

}  // namespace octavo
