// SPDX-License-Identifier: Apache-2.0
// Rebuilds tokenizer and generation files from GGUF metadata.
#include "quantizers/gguf_companions.h"

#include <optional>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "models/gguf_vocabulary_reader.h"
#include "tokenizer/tokenizer_spec.h"

namespace octavo {
namespace {

Json TokenText(const GgufVocabulary& vocabulary, std::optional<int64_t> id) {
  return id ? Json(vocabulary.tokens[static_cast<size_t>(*id)]) : Json();
}

// "bos_token" and its siblings, for two files that both carry them.
Json SpecialTokens(const GgufVocabulary& vocabulary) {
  Json tokens = Json::object();
  const auto add = [&](const char* key, std::optional<int64_t> id) {
    if (id) tokens[key] = TokenText(vocabulary, id);
  };
  add("bos_token", vocabulary.bos_token_id);
  add("eos_token", vocabulary.eos_token_id);
  add("unk_token", vocabulary.unknown_token_id);
  add("pad_token", vocabulary.padding_token_id);
  return tokens;
}

// PreTrainedTokenizerFast takes tokenizer.json as it is; transformers rebuilds the pipeline for the
// classes that are named after models.
Json TokenizerConfig(const GgufVocabulary& vocabulary, const Json& model_config) {
  Json config = SpecialTokens(vocabulary);
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  if (const Json* length = Find(model_config, "max_position_embeddings")) {
    config["model_max_length"] = *length;
  }
  if (!vocabulary.chat_template.empty()) config["chat_template"] = vocabulary.chat_template;
  return config;
}

// Any of the end tokens stops.
Json GenerationConfig(const GgufVocabulary& vocabulary) {
  Json config = Json::object();
  if (vocabulary.bos_token_id) config["bos_token_id"] = *vocabulary.bos_token_id;
  Json stops = Json::array();
  for (const auto& id : {vocabulary.eos_token_id, vocabulary.eot_token_id}) {
    if (id && (stops.empty() || stops[0] != *id)) stops.push_back(*id);
  }
  if (!stops.empty()) config["eos_token_id"] = stops.size() == 1 ? stops[0] : stops;
  if (vocabulary.padding_token_id) config["pad_token_id"] = *vocabulary.padding_token_id;
  return config;
}

}  // namespace

Status WriteGgufCompanions(const Checkpoint& checkpoint, const std::string& folder) {
  OCTAVO_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(*checkpoint.gguf()));
  auto spec = MakeGgufTokenizerSpec(vocabulary);
  if (!spec.ok()) return std::move(spec).status().WithContext(checkpoint.path());
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder + "/tokenizer.json", WriteTokenizerJson(*spec)));
  const auto write = [&folder](const char* name, const Json& json) {
    return WriteFileAtomically(folder + "/" + name, DumpJson(json, 2) + "\n");
  };
  OCTAVO_RETURN_IF_ERROR(
      write("tokenizer_config.json", TokenizerConfig(vocabulary, checkpoint.config())));
  OCTAVO_RETURN_IF_ERROR(write("special_tokens_map.json", SpecialTokens(vocabulary)));
  return write("generation_config.json", GenerationConfig(vocabulary));
}

}  // namespace octavo
