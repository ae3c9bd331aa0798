// SPDX-License-Identifier: Apache-2.0
// Turns sentinels into optionals.
#include "models/gguf_vocabulary_reader.h"

#include <limits>
#include <optional>
#include <utility>

namespace octavo {
namespace {

std::optional<int64_t> IdOrNone(int64_t id) {
  return id < 0 ? std::nullopt : std::optional<int64_t>(id);
}

GgufVocabulary ToVocabulary(GgufTokenizerFields fields) {
  GgufVocabulary vocabulary;
  vocabulary.model = std::move(fields.model);
  vocabulary.pre = std::move(fields.pre);
  vocabulary.tokens = std::move(fields.tokens);
  vocabulary.scores = std::move(fields.scores);
  vocabulary.merges = std::move(fields.merges);
  vocabulary.chat_template = std::move(fields.chat_template);
  vocabulary.token_types.reserve(fields.token_types.size());
  for (const int64_t type : fields.token_types) {
    const bool fits = type >= 0 && type <= std::numeric_limits<int32_t>::max();
    vocabulary.token_types.push_back(fits ? static_cast<int32_t>(type) : 0);
  }
  vocabulary.bos_token_id = IdOrNone(fields.bos_token_id);
  vocabulary.eos_token_id = IdOrNone(fields.eos_token_id);
  vocabulary.eot_token_id = IdOrNone(fields.eot_token_id);
  vocabulary.unknown_token_id = IdOrNone(fields.unknown_token_id);
  vocabulary.padding_token_id = IdOrNone(fields.padding_token_id);
  if (fields.has_add_bos_token) vocabulary.add_bos_token = fields.add_bos_token;
  if (fields.has_add_eos_token) vocabulary.add_eos_token = fields.add_eos_token;
  if (fields.has_add_space_prefix) vocabulary.add_space_prefix = fields.add_space_prefix;
  return vocabulary;
}

}  // namespace

Result<GgufVocabulary> ReadGgufVocabulary(const GgufReader& gguf) {
  OCTAVO_ASSIGN_OR_RETURN(GgufTokenizerFields fields, ReadGgufTokenizer(gguf));
  return ToVocabulary(std::move(fields));
}

}  // namespace octavo
