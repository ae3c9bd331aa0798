// SPDX-License-Identifier: Apache-2.0
// The text that models are compared on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// Own prose, dialogue, tables, code and notes in several languages, written for this purpose (licence:
// that of the repository); some 2,500 tokens. Not used for calibration.
std::string_view BuiltInText();
inline constexpr const char* kBuiltInTextName = "built-in";
inline constexpr int64_t kBuiltInTextWindow = 512;  // tokens

// Tokens in whole windows, as perplexity takes them (metrics/perplexity.h).
struct EvaluationText {
  std::string name;    // path, or kBuiltInTextName
  std::string sha256;  // of the text's bytes
  int64_t window = 0;
  std::vector<int32_t> tokens;  // windows * window

  int64_t windows() const { return static_cast<int64_t>(tokens.size()) / window; }
};

struct EvaluationTextOptions {
  std::string file;        // UTF-8; empty: the built-in text
  int64_t window = 0;      // 0: 2048 for a file, kBuiltInTextWindow for the built-in text
  int64_t max_windows = 0; // 0: all
};

// Errors: reading and tokenizing; InvalidArgument when the text has less than one window.
Result<EvaluationText> LoadEvaluationText(const EvaluationTextOptions& options,
                                          const Tokenizer& tokenizer);

// InvalidArgument, naming the first difference, unless both tokenizers have the same vocabulary and
// make the same tokens of the text.
Status CheckSameTokens(const Tokenizer& a, const Tokenizer& b,
                       const EvaluationTextOptions& options, const EvaluationText& text);

}  // namespace octavo
