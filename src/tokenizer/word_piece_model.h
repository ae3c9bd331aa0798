// SPDX-License-Identifier: Apache-2.0
// WordPiece (BERT): greedy longest match from the left.
#pragma once

#include <memory>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/token_model.h"

namespace octavo {

// config: unk_token, continuing_subword_prefix ("##"), max_input_chars_per_word (100).
Result<std::unique_ptr<TokenModel>> MakeWordPieceModel(const Json& config, TokenizerSpec* spec,
                                                       bool maps_bytes);

}  // namespace octavo
