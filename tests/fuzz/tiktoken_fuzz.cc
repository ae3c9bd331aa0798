// SPDX-License-Identifier: Apache-2.0
// Fuzz target: tiktoken vocabularies.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tokenizer/tiktoken.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)LooksLikeTiktoken(text);
  auto spec = ParseTiktoken(text, Json::object());
  if (!spec.ok()) return 0;
  const auto tokenizer = Tokenizer::FromSpec(std::move(spec).value());
  if (tokenizer.ok()) (void)(*tokenizer)->Encode("abc 世", true);
  return 0;
}
