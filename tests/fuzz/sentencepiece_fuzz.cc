// SPDX-License-Identifier: Apache-2.0
// Fuzz target: SentencePiece .model files.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tokenizer/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  auto model = ParseSentencePieceModel({reinterpret_cast<const char*>(data), size});
  if (!model.ok()) return 0;
  const auto tokenizer = MakeSentencePieceTokenizer(std::move(model).value(), true, true);
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("abc <s> 世 zz\n", true);
  if (ids.ok()) (void)(*tokenizer)->Decode(*ids, false);
  return 0;
}
