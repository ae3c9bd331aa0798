// SPDX-License-Identifier: Apache-2.0
// Unigram language model segmentation (Kudo, arXiv:1804.10959): the most probable split.
#pragma once

#include <memory>

#include "base/json.h"
#include "octavo/status.h"
#include "tokenizer/token_model.h"

namespace octavo {

// config: unk_id (may be null), byte_fallback. Unknown characters score 10 below the worst token;
// neighbouring ones are fused.
Result<std::unique_ptr<TokenModel>> MakeUnigramModel(const Json& config, TokenizerSpec* spec,
                                                     bool maps_bytes);

}  // namespace octavo
