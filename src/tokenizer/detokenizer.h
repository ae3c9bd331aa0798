// SPDX-License-Identifier: Apache-2.0
// Decoding one token at a time while a model generates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tokenizer/decoder.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// Push and Finish together return exactly Decode of all ids, and every returned string is whole
// UTF-8 characters. Text is kept back only while later tokens can still change it: an unfinished
// character, or a run of byte tokens (which is valid as a whole or not at all).
class StreamingDetokenizer {
 public:
  // `tokenizer` must outlive this.
  StreamingDetokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer),
        skip_special_tokens_(skip_special_tokens),
        session_(tokenizer.StartDecoding()) {}

  // The text that `id` makes certain, perhaps empty. Unknown ids give nothing.
  std::string Push(int32_t id) {
    std::string text;
    const std::string* token = tokenizer_->IdToToken(id);
    if (token != nullptr && !(skip_special_tokens_ && tokenizer_->IsSpecial(id))) {
      session_.Push(*token, &text);
    }
    return text;
  }

  // The rest after the last token. Push must not be called afterwards.
  std::string Finish() {
    std::string text;
    session_.Flush(&text);
    return text;
  }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  DecoderSession session_;
};

}  // namespace octavo
