// SPDX-License-Identifier: Apache-2.0
// Reads and tokenizes the text.
#include "quality/evaluation_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/digest.h"
#include "base/file.h"
#include "metrics/perplexity.h"

namespace octavo {
namespace {

Result<std::string> ReadText(const EvaluationTextOptions& options) {
  if (options.file.empty()) return std::string(BuiltInText());
  return ReadFile(options.file);
}

std::string Spelling(const Tokenizer& tokenizer, int32_t id) {
  const std::string* token = tokenizer.IdToToken(id);
  return token == nullptr ? "nothing" : fmt::format("'{}'", *token);
}

}  // namespace

Result<EvaluationText> LoadEvaluationText(const EvaluationTextOptions& options,
                                          const Tokenizer& tokenizer) {
  const bool built_in = options.file.empty();
  EvaluationText text;
  text.name = built_in ? kBuiltInTextName : options.file;
  text.window = options.window;
  if (text.window == 0) text.window = built_in ? kBuiltInTextWindow : kPerplexityWindow;
  OCTAVO_ASSIGN_OR_RETURN(const std::string content, ReadText(options));
  OCTAVO_ASSIGN_OR_RETURN(text.sha256, Sha256(content));
  OCTAVO_ASSIGN_OR_RETURN(text.tokens, tokenizer.Encode(content, /*add_special_tokens=*/true));
  int64_t windows = std::ssize(text.tokens) / text.window;
  if (windows == 0) {
    return InvalidArgument(fmt::format("{}: {} tokens, want at least one window of {} (--window)",
                                       text.name, text.tokens.size(), text.window));
  }
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  text.tokens.resize(static_cast<size_t>(windows * text.window));
  return text;
}

Status CheckSameTokens(const Tokenizer& a, const Tokenizer& b,
                       const EvaluationTextOptions& options, const EvaluationText& text) {
  for (int32_t id = 0; id < std::max(a.vocab_size(), b.vocab_size()); ++id) {
    const std::string* of_a = a.IdToToken(id);
    const std::string* of_b = b.IdToToken(id);
    if ((of_a == nullptr) == (of_b == nullptr) && (of_a == nullptr || *of_a == *of_b)) continue;
    return InvalidArgument(fmt::format(
        "the models have different vocabularies: token {} is {} in the first and {} in the second",
        id, Spelling(a, id), Spelling(b, id)));
  }
  EvaluationTextOptions same = options;
  same.window = text.window;
  OCTAVO_ASSIGN_OR_RETURN(const EvaluationText other, LoadEvaluationText(same, b));
  const auto [left, right] = std::mismatch(text.tokens.begin(), text.tokens.end(),
                                           other.tokens.begin(), other.tokens.end());
  if (left == text.tokens.end() && right == other.tokens.end()) return Status::Ok();
  return InvalidArgument(fmt::format("the models' tokenizers differ from token {} of {} on",
                                     left - text.tokens.begin(), text.name));
}

}  // namespace octavo
