// SPDX-License-Identifier: Apache-2.0
// SentencePiece's precompiled character map, used as a normalizer.
#pragma once

#include <memory>
#include <string_view>

#include "octavo/status.h"
#include "tokenizer/normalizer.h"

namespace octavo {

// `base64` holds: u32 trie bytes, a darts-clone double array, NUL-terminated replacements.
// Source: SentencePiece, normalizer.cc and tokenizers' Precompiled (replacement by grapheme first,
// then by character). An empty map is the identity.
Result<std::unique_ptr<Normalizer>> MakePrecompiledNormalizer(std::string_view base64);

// The same from the raw bytes, as a SentencePiece model stores them.
Result<std::unique_ptr<Normalizer>> MakePrecompiledNormalizerFromBytes(std::string_view map);

// Standard base64 with padding, for maps and tiktoken files.
Result<std::string> DecodeBase64(std::string_view text);
std::string EncodeBase64(std::string_view bytes);

}  // namespace octavo
