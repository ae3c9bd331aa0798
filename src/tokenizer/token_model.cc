// SPDX-License-Identifier: Apache-2.0
// Chooses the model class.
#include "tokenizer/token_model.h"

#include <fmt/format.h>

#include "tokenizer/bpe_model.h"
#include "tokenizer/unigram_model.h"
#include "tokenizer/word_piece_model.h"

namespace octavo {

Result<std::unique_ptr<TokenModel>> MakeTokenModel(TokenizerSpec* spec, bool maps_bytes) {
  const Json* model = Find(spec->config, "model");
  if (model == nullptr || !model->is_object()) return DataLoss("'model' is missing");
  // Files written before the key existed hold BPE when they have merges.
  OCTAVO_ASSIGN_OR_RETURN(const std::string type,
                          GetStringOr(*model, "type", spec->merges.empty() ? "" : "BPE"));
  if (type == "BPE") return MakeBpeModel(*model, spec, maps_bytes);
  if (type == "Unigram") return MakeUnigramModel(*model, spec, maps_bytes);
  if (type == "WordPiece") return MakeWordPieceModel(*model, spec, maps_bytes);
  return Unimplemented(fmt::format("model '{}' is not supported", type.substr(0, 100)));
}

std::vector<int32_t> FindByteTokens(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids(256, -1);
  for (size_t byte = 0; byte < 256; ++byte) {
    ids[byte] = vocabulary.Find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  return ids;
}

}  // namespace octavo
