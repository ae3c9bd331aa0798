// SPDX-License-Identifier: Apache-2.0
// Writes tokenizer.json: the two large tables as text, the rest through the JSON library.
#include <unordered_map>

#include "tokenizer/tokenizer_spec.h"

namespace octavo {
namespace {

// Keys that the library wants of every component, null or false where a spec leaves them out.
Json CompleteModel(const Json& model) {
  Json complete = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false}};
  complete.update(model);
  return complete;
}

Json CompleteAddedTokens(const Json& tokens, const std::unordered_map<std::string, int32_t>& ids) {
  Json list = Json::array();
  for (const Json& token : tokens) {
    Json complete = {{"id", 0},          {"content", ""},       {"single_word", false},
                     {"lstrip", false},  {"rstrip", false},     {"normalized", false},
                     {"special", false}};
    complete.update(token);
    const auto id = ids.find(complete["content"].get<std::string>());
    if (id != ids.end()) complete["id"] = id->second;
    list.push_back(std::move(complete));
  }
  return list;
}

// Special tokens by their own text, and the form for pairs of texts.
Json CompletePostProcessor(const Json& processor, const std::vector<VocabEntry>& vocab) {
  if (!processor.is_object() || processor.value("type", "") != "TemplateProcessing") return processor;
  std::unordered_map<int64_t, const std::string*> texts;
  for (const VocabEntry& entry : vocab) texts.emplace(entry.id, &entry.token);
  Json complete = processor;
  const Json* tokens = Find(complete, "special_tokens");
  if (tokens == nullptr || tokens->empty()) return nullptr;  // nothing is added
  for (auto& [name, token] : complete["special_tokens"].items()) {
    Json strings = Json::array();
    for (const Json& id : token["ids"]) {
      const auto text = texts.find(id.get<int64_t>());
      strings.push_back(text == texts.end() ? name : *text->second);
    }
    token["id"] = name;
    token["tokens"] = std::move(strings);
  }
  if (Find(complete, "pair") == nullptr) {
    complete["pair"] = complete["single"];
    for (Json second : complete["single"]) {
      for (auto& [kind, item] : second.items()) {
        item["type_id"] = 1;
        if (kind == "Sequence") item["id"] = "B";
      }
      complete["pair"].push_back(std::move(second));
    }
  }
  return complete;
}

std::string VocabText(const TokenizerSpec& spec, bool unigram) {
  std::string text = unigram ? "[" : "{";
  for (const VocabEntry& entry : spec.vocab) {
    if (text.size() > 1) text += ",";
    const std::string token = DumpJson(Json(entry.token));
    text += unigram ? "[" + token + "," + DumpJson(Json(entry.score)) + "]"
                    : token + ":" + std::to_string(entry.id);
  }
  return text + (unigram ? "]" : "}");
}

std::string MergesText(const TokenizerSpec& spec) {
  std::string text = "[";
  for (const auto& [left, right] : spec.merges) {
    if (text.size() > 1) text += ",";
    text += "[" + DumpJson(Json(left)) + "," + DumpJson(Json(right)) + "]";
  }
  return text + "]";
}

}  // namespace

std::string WriteTokenizerJson(const TokenizerSpec& spec) {
  std::unordered_map<std::string, int32_t> ids;
  for (const VocabEntry& entry : spec.vocab) ids.emplace(entry.token, entry.id);
  const auto part = [&spec](const char* key) {
    const Json* value = Find(spec.config, key);
    return value == nullptr ? Json() : *value;
  };
  Json model = part("model");
  const bool unigram = model.is_object() && model.value("type", "") == "Unigram";
  if (!unigram) model = CompleteModel(model);
  Json config = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  config["added_tokens"] = CompleteAddedTokens(part("added_tokens"), ids);
  config["normalizer"] = part("normalizer");
  config["pre_tokenizer"] = part("pre_tokenizer");
  config["post_processor"] = CompletePostProcessor(part("post_processor"), spec.vocab);
  config["decoder"] = part("decoder");
  // The tables follow as text: as JSON trees they would take a hundred times their size.
  std::string text = DumpJson(config);
  text.pop_back();
  std::string model_text = DumpJson(model);
  model_text.pop_back();
  text += ",\"model\":" + model_text + ",\"vocab\":" + VocabText(spec, unigram);
  if (!unigram) text += ",\"merges\":" + MergesText(spec);
  return text + "}}\n";
}

}  // namespace octavo
