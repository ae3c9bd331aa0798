// SPDX-License-Identifier: Apache-2.0
// Oniguruma behind a small interface with bounded backtracking.
#include "tokenizer/regex.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <mutex>
#include <string>

#include "base/check.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
// Per call of the matcher; ordinary splitting patterns stay below the length of one text.
constexpr unsigned long kRetryLimit = 50'000'000;
constexpr unsigned int kStackLimit = 64u << 20;

const OnigUChar* Bytes(std::string_view text, size_t offset) {
  return reinterpret_cast<const OnigUChar*>(text.data()) + offset;
}

std::string EngineMessage(int code, OnigErrorInfo* info = nullptr) {
  OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = info != nullptr ? onig_error_code_to_str(message, code, info)
                                     : onig_error_code_to_str(message, code);
  return {reinterpret_cast<char*>(message), static_cast<size_t>(length)};
}

}  // namespace

struct Regex::Engine {
  regex_t* regex = nullptr;
  ~Engine() {
    if (regex != nullptr) onig_free(regex);
  }
};

void InitializeRegexEngine() {
  static std::once_flag once;
  std::call_once(once, [] {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    OCTAVO_CHECK(onig_initialize(encodings, 1) == ONIG_NORMAL);
  });
}

Regex::Regex(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
Regex::~Regex() = default;

Result<std::unique_ptr<Regex>> Regex::Compile(std::string_view pattern) {
  InitializeRegexEngine();
  if (pattern.size() > kMaxPatternBytes) {
    return ResourceExhausted(
        fmt::format("regex of {} bytes, limit {}", pattern.size(), kMaxPatternBytes));
  }
  auto engine = std::make_unique<Engine>();
  OnigErrorInfo info;
  const int code = onig_new(&engine->regex, Bytes(pattern, 0), Bytes(pattern, pattern.size()),
                            ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
  if (code != ONIG_NORMAL) {
    engine->regex = nullptr;
    return InvalidArgument(
        fmt::format("regex '{}': {}", pattern.substr(0, 200), EngineMessage(code, &info)));
  }
  return std::unique_ptr<Regex>(new Regex(std::move(engine)));
}

Status Regex::ForEachMatch(std::string_view text,
                           const std::function<void(Range)>& on_match) const {
  const std::unique_ptr<OnigMatchParam, void (*)(OnigMatchParam*)> param(
      onig_new_match_param(), [](OnigMatchParam* p) { onig_free_match_param(p); });
  const std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(
      onig_region_new(), [](OnigRegion* r) { onig_region_free(r, 1); });
  if (param == nullptr || region == nullptr) return ResourceExhausted("regex: out of memory");
  onig_initialize_match_param(param.get());
  onig_set_retry_limit_in_match_of_match_param(param.get(), kRetryLimit);
  onig_set_match_stack_limit_size_of_match_param(param.get(), kStackLimit);

  size_t position = 0;
  size_t last_end = std::string_view::npos;
  while (position <= text.size()) {
    const int found = onig_search_with_param(
        engine_->regex, Bytes(text, 0), Bytes(text, text.size()), Bytes(text, position),
        Bytes(text, text.size()), region.get(), ONIG_OPTION_NONE, param.get());
    if (found == ONIG_MISMATCH) break;
    if (found < 0) return ResourceExhausted("regex: " + EngineMessage(found));
    const Range match{static_cast<size_t>(region->beg[0]), static_cast<size_t>(region->end[0])};
    if (match.begin == match.end) {
      if (match.end != last_end) on_match(match);
      last_end = match.end;
      if (match.end >= text.size()) break;
      position = match.end + DecodeUtf8(text, match.end).length;
    } else {
      on_match(match);
      last_end = match.end;
      position = match.end;
    }
  }
  return Status::Ok();
}

}  // namespace octavo
