// SPDX-License-Identifier: Apache-2.0
// The small JSON pieces that all kinds of reply share.
#include "server/reply_formatter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace octavo::server {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second > 0x9F;
  const bool beyond = lead == 0xF4 && second > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

void AppendEvent(std::string& events, const Json& json) {
  events.append("data: ").append(DumpJson(json)).append("\n\n");
}

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json FinishReasonJson(const std::optional<FinishReason>& reason) {
  if (!reason) return nullptr;
  switch (*reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kAbort: return "abort";
    case FinishReason::kError: return "error";
  }
  return nullptr;
}

double FiniteLogprob(float logprob) {
  return std::isnan(logprob) ? -9999.0 : std::max(static_cast<double>(logprob), -9999.0);
}

std::string SanitizeUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    out.append(length > 0 ? text.substr(0, length) : kReplacement);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

std::string TokenText(const TokenLogprob& token, bool as_id) {
  return as_id ? fmt::format("token_id:{}", token.token_id) : SanitizeUtf8(token.bytes);
}

size_t CountCodePoints(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

Json PromptLogprobsJson(const std::vector<std::optional<PositionLogprobs>>& positions) {
  Json out = Json::array();
  for (const auto& position : positions) {
    if (!position) {
      out.push_back(nullptr);
      continue;
    }
    Json entry = Json::object();
    const auto add = [&](const TokenLogprob& token) {
      entry[std::to_string(token.token_id)] = {{"logprob", FiniteLogprob(token.logprob)},
                                               {"rank", token.rank},
                                               {"decoded_token", SanitizeUtf8(token.bytes)}};
    };
    add(position->token);
    for (const TokenLogprob& token : position->top) add(token);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace octavo::server
