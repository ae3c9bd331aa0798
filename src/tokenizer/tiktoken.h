// SPDX-License-Identifier: Apache-2.0
// tiktoken vocabularies: lines of "base64-token rank".
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

// True when the first line has the form "base64 integer".
bool LooksLikeTiktoken(std::string_view bytes);

// The byte-level BPE that the ranks define: merges are derived from the ranks, as tiktoken merges
// the pair whose product has the lowest rank. The regex comes from tokenizer_config's "pat_str",
// else the vocabulary's size decides between Qwen's and Llama 3's. Special tokens come from
// "added_tokens_decoder".
Result<TokenizerSpec> ParseTiktoken(std::string_view text, const Json& tokenizer_config);

Result<std::unique_ptr<Tokenizer>> TiktokenFromFile(const std::string& path,
                                                    const Json& tokenizer_config);

}  // namespace octavo
