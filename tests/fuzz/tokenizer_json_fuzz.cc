// SPDX-License-Identifier: Apache-2.0
// Fuzz target: tokenizer.json. Streaming must give what Decode gives, in valid UTF-8.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = Tokenizer::FromJsonText(input);
  if (!tokenizer.ok()) return 0;
  for (const std::string_view text :
       {std::string_view("a <s> don't 世😀 12\n\n "), input.substr(0, 200)}) {
    const auto ids = (*tokenizer)->Encode(text, true);
    if (!ids.ok()) continue;
    const std::string whole = (*tokenizer)->Decode(*ids, false);
    StreamingDetokenizer stream(**tokenizer, false);
    std::string streamed;
    for (const int32_t id : *ids) {
      const std::string part = stream.Push(id);
      if (!IsValidUtf8(part)) std::abort();
      streamed += part;
    }
    streamed += stream.Finish();
    if (streamed != whole) std::abort();
  }
  return 0;
}
