// SPDX-License-Identifier: Apache-2.0
// Module matchers on top of Oniguruma.
#include "schemes/module_matcher.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <mutex>
#include <utility>

namespace octavo {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
constexpr size_t kMaxPatternBytes = 4096;
constexpr size_t kMaxPatterns = 100'000;
constexpr unsigned long kMaxRetries = 100'000;  // backtracking steps per match

const OnigUChar* Bytes(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

Status InitOniguruma() {
  static std::once_flag once;
  static int result = ONIG_NORMAL;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    result = onig_initialize(encodings, 1);
  });
  return result == ONIG_NORMAL ? Status::Ok() : Internal("Oniguruma failed to start");
}

}  // namespace

struct ModuleMatcher::Regex {
  regex_t* handle = nullptr;
  ~Regex() {
    if (handle != nullptr) onig_free(handle);
  }
};

ModuleMatcher::ModuleMatcher() = default;
ModuleMatcher::ModuleMatcher(ModuleMatcher&&) noexcept = default;
ModuleMatcher& ModuleMatcher::operator=(ModuleMatcher&&) noexcept = default;
ModuleMatcher::~ModuleMatcher() = default;

Result<ModuleMatcher> ModuleMatcher::Compile(const std::vector<std::string>& patterns) {
  OCTAVO_RETURN_IF_ERROR(InitOniguruma());
  if (patterns.size() > kMaxPatterns) {
    return ResourceExhausted(fmt::format("{} module patterns, limit {}", patterns.size(), kMaxPatterns));
  }
  ModuleMatcher matcher;
  matcher.patterns_ = patterns;
  matcher.regexes_.resize(patterns.size());
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (!patterns[i].starts_with(kRegexPrefix)) continue;
    if (patterns[i].size() > kMaxPatternBytes) {
      return ResourceExhausted(fmt::format("module pattern of {} bytes, limit {}",
                                           patterns[i].size(), kMaxPatternBytes));
    }
    const char* begin = patterns[i].data() + kRegexPrefix.size();
    const char* end = patterns[i].data() + patterns[i].size();
    auto regex = std::make_unique<Regex>();
    OnigErrorInfo info{};
    const int code = onig_new(&regex->handle, Bytes(begin), Bytes(end), ONIG_OPTION_NONE,
                              ONIG_ENCODING_UTF8, ONIG_SYNTAX_PYTHON, &info);
    if (code != ONIG_NORMAL) {
      OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN] = {};
      onig_error_code_to_str(text, code, &info);
      return InvalidArgument(fmt::format("module pattern '{}': {}", patterns[i],
                                         reinterpret_cast<const char*>(text)));
    }
    matcher.regexes_[i] = std::move(regex);
  }
  return matcher;
}

Result<ModuleMatcher::Match> ModuleMatcher::Find(std::string_view module,
                                                 std::string_view module_class) const {
  Match best = Match::kNone;
  for (size_t i = 0; i < patterns_.size() && best != Match::kName; ++i) {
    if (patterns_[i] == module) best = Match::kName;
    if (patterns_[i] == module_class && best < Match::kClass) best = Match::kClass;
    if (regexes_[i] == nullptr || best >= Match::kRegex) continue;
    OnigMatchParam* param = onig_new_match_param();
    if (param == nullptr) return ResourceExhausted("no memory for a regular expression");
    onig_initialize_match_param(param);
    onig_set_retry_limit_in_match_of_match_param(param, kMaxRetries);
    const char* end = module.data() + module.size();
    const int matched =
        onig_match_with_param(regexes_[i]->handle, Bytes(module.data()), Bytes(end),
                              Bytes(module.data()), nullptr, ONIG_OPTION_NONE, param);
    onig_free_match_param(param);
    if (matched >= 0) best = Match::kRegex;
    if (matched < ONIG_MISMATCH) {
      return ResourceExhausted(fmt::format("module pattern '{}' needs too many steps on '{}'",
                                           patterns_[i], module));
    }
  }
  return best;
}

bool ModuleMatcher::ContainsAny(std::string_view module) const {
  for (const std::string& pattern : patterns_) {
    if (!pattern.empty() && module.find(pattern) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace octavo
