// SPDX-License-Identifier: Apache-2.0
// Tokens, types, merges or scores, and the name of the pre-tokenizer.
#include "tokenizer/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "base/file.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/text_processor.h"
#include "tokenizer/tokenizer_spec.h"

namespace octavo {
namespace {

constexpr int64_t kMaxTokens = 1 << 24;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

Result<TokenizerSpec> ReadSpec(const std::string& folder) {
  if (Exists(folder + "/tokenizer.json")) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(folder + "/tokenizer.json"));
    return ParseTokenizerJson(text);
  }
  if (!Exists(folder + "/tokenizer.model")) {
    return NotFound(folder + ": no tokenizer.json or tokenizer.model to put into the GGUF file");
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(folder + "/tokenizer.model"));
  OCTAVO_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePieceModel(bytes));
  return MakeSentencePieceSpec(std::move(model));
}

// A component without the keys that do not change tokens, so that two spellings compare equal.
Json Essence(const Json& component) {
  if (component.is_array()) {
    Json list = Json::array();
    for (const Json& item : component) list.push_back(Essence(item));
    return list;
  }
  if (!component.is_object()) return component;
  Json result = Json::object();
  std::vector<std::string> keys;
  for (const auto& [key, value] : component.items()) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  for (const std::string& key : keys) {
    const Json& value = component[key];
    const bool silent = key == "trim_offsets" || (key == "use_regex" && value == Json(true)) ||
                        (key == "invert" && value == Json(false));
    if (!silent && !value.is_null()) result[key] = Essence(value);
  }
  const Json* steps = Find(result, "pretokenizers");
  if (steps != nullptr && steps->is_array() && steps->size() == 1) return (*steps)[0];
  return result;
}

// The name in tokenizer.ggml.pre whose pipeline is that of `config`.
Result<std::string> PreNameOf(const Json& config) {
  const auto part = [](const Json& from, std::string_view key) {
    const Json* found = Find(from, key);
    return found == nullptr ? Json() : Essence(*found);
  };
  const Json* model = Find(config, "model");
  const auto ignore_merges = [](const Json* from) {
    const Json* flag = from == nullptr ? nullptr : Find(*from, "ignore_merges");
    return flag != nullptr && *flag == Json(true);
  };
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2", "smollm"}) {
    GgufVocabulary probe;
    probe.model = "gpt2";
    probe.pre = name;
    probe.tokens = {"a"};
    OCTAVO_ASSIGN_OR_RETURN(const TokenizerSpec spec, MakeGgufTokenizerSpec(probe));
    if (part(spec.config, "pre_tokenizer") == part(config, "pre_tokenizer") &&
        part(spec.config, "normalizer") == part(config, "normalizer") &&
        ignore_merges(Find(spec.config, "model")) == ignore_merges(model)) {
      return std::string(name);
    }
  }
  const Json* pre = Find(config, "pre_tokenizer");
  return Unimplemented(fmt::format("GGUF has no name for the pre-tokenizer {:.300}",
                                   pre == nullptr ? "null" : DumpJson(*pre)));
}

bool Mentions(const Json& config, std::string_view key, std::string_view word) {
  const Json* part = Find(config, key);
  return part != nullptr && DumpJson(*part).find(word) != std::string::npos;
}

bool IsByteToken(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

Status AddTokens(const TokenizerSpec& spec, int64_t num_rows, GgufVocabulary& v) {
  int64_t count = num_rows;
  for (const VocabEntry& entry : spec.vocab) count = std::max<int64_t>(count, int64_t{entry.id} + 1);
  const Json* added = Find(spec.config, "added_tokens");
  const Json none = Json::array();
  if (added == nullptr) added = &none;
  for (const Json& token : *added) {
    OCTAVO_ASSIGN_OR_RETURN(const int64_t id, GetIntOr(token, "id", 0, 0, kMaxTokens - 1));
    count = std::max(count, id + 1);
  }
  if (count > kMaxTokens) return DataLoss(fmt::format("{} tokens, want at most {}", count, kMaxTokens));
  v.tokens.resize(static_cast<size_t>(count));
  v.token_types.assign(v.tokens.size(), static_cast<int32_t>(GgufTokenType::kUnused));
  const auto put = [&v](int64_t id, const std::string& text, GgufTokenType type) {
    v.tokens[static_cast<size_t>(id)] = text;
    v.token_types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  for (const VocabEntry& entry : spec.vocab) {
    if (entry.id < 0) return DataLoss(fmt::format("token '{:.40}' has id {}", entry.token, entry.id));
    const bool byte = v.model == "llama" && IsByteToken(entry.token);
    put(entry.id, entry.token, byte ? GgufTokenType::kByte : GgufTokenType::kNormal);
  }
  std::unordered_map<std::string, int32_t> ids;
  for (const VocabEntry& entry : spec.vocab) ids.emplace(entry.token, entry.id);
  for (const Json& token : *added) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string text, GetString(token, "content"));
    OCTAVO_ASSIGN_OR_RETURN(const bool special, GetBoolOr(token, "special", false));
    const auto known = ids.find(text);
    OCTAVO_ASSIGN_OR_RETURN(
        const int64_t id,
        known != ids.end() ? Result<int64_t>(known->second) : GetInt(token, "id", 0, kMaxTokens - 1));
    put(id, text, special ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  }
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.tokens[id].empty()) v.tokens[id] = fmt::format("[PAD{}]", id);
  }
  return Status::Ok();
}

// SentencePiece merges the pair whose product scores best; minus the rank of the first merge that makes a
// token gives the order of the merges back.
void AddScores(const TokenizerSpec& spec, GgufVocabulary& v) {
  std::unordered_map<std::string, float> scores;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    scores.emplace(spec.merges[rank].first + spec.merges[rank].second, -static_cast<float>(rank + 1));
  }
  for (const std::string& token : v.tokens) {
    const auto found = scores.find(token);
    v.scores.push_back(found == scores.end() ? 0.0f : found->second);
  }
}

Status AddSpecialIds(const TextProcessor& text, GgufVocabulary& v) {
  const Tokenizer& tokenizer = text.tokenizer();
  const auto id = [&](const char* name) -> std::optional<int64_t> {
    const Json* token = Find(text.special_tokens(), name);
    if (token == nullptr || !token->is_string()) return std::nullopt;
    return tokenizer.TokenToId(token->get<std::string>());
  };
  v.bos_token_id = id("bos_token");
  v.eos_token_id = id("eos_token");
  v.unknown_token_id = id("unk_token");
  v.padding_token_id = id("pad_token");
  for (const int32_t stop : text.eos_token_ids()) {
    if (!v.eos_token_id) v.eos_token_id = stop;
    if (stop != *v.eos_token_id && !v.eot_token_id) v.eot_token_id = stop;
  }
  if (v.unknown_token_id && v.model == "llama") {
    v.token_types[static_cast<size_t>(*v.unknown_token_id)] =
        static_cast<int32_t>(GgufTokenType::kUnknown);
  }
  const auto flag = [](const std::vector<int32_t>& ids, std::optional<int64_t> token) -> Result<bool> {
    if (ids.empty()) return false;
    if (ids.size() == 1 && token && ids[0] == *token) return true;
    return Unimplemented(
        fmt::format("the tokenizer adds {} tokens around a text; GGUF can only say BOS and EOS", ids.size()));
  };
  OCTAVO_ASSIGN_OR_RETURN(v.add_bos_token, flag(tokenizer.prefix_ids(), v.bos_token_id));
  OCTAVO_ASSIGN_OR_RETURN(v.add_eos_token, flag(tokenizer.suffix_ids(), v.eos_token_id));
  return Status::Ok();
}

Result<std::string> ReadTemplate(const std::string& folder) {
  if (Exists(folder + "/chat_template.jinja")) return ReadFile(folder + "/chat_template.jinja");
  if (!Exists(folder + "/tokenizer_config.json")) return std::string();
  OCTAVO_ASSIGN_OR_RETURN(const Json config, ParseJsonFile(folder + "/tokenizer_config.json"));
  const Json* text = Find(config, "chat_template");
  return text != nullptr && text->is_string() ? text->get<std::string>() : std::string();
}

}  // namespace

Result<GgufVocabulary> MakeGgufVocabulary(const std::string& folder, int64_t num_rows) {
  OCTAVO_ASSIGN_OR_RETURN(const TokenizerSpec spec, ReadSpec(folder));
  OCTAVO_ASSIGN_OR_RETURN(const auto text, TextProcessor::FromFolder(folder));
  const Json* model = Find(spec.config, "model");
  const Json* type = model == nullptr ? nullptr : Find(*model, "type");
  if (type == nullptr || *type != Json("BPE")) {
    return Unimplemented(fmt::format("{}: a tokenizer of type {}; the GGUF writer knows BPE", folder,
                                     type == nullptr ? "unknown" : DumpJson(*type)));
  }
  GgufVocabulary v;
  const bool byte_level = Mentions(spec.config, "decoder", "ByteLevel");
  v.model = byte_level ? "gpt2" : "llama";
  v.pre = "default";
  if (byte_level) {
    OCTAVO_ASSIGN_OR_RETURN(v.pre, PreNameOf(spec.config));
    for (const auto& [left, right] : spec.merges) v.merges.push_back(left + " " + right);
  }
  OCTAVO_RETURN_IF_ERROR(AddTokens(spec, num_rows, v));
  if (!byte_level) {
    AddScores(spec, v);
    v.add_space_prefix = Mentions(spec.config, "normalizer", "Prepend") ||
                         Mentions(spec.config, "pre_tokenizer", "Metaspace");
  }
  OCTAVO_RETURN_IF_ERROR(AddSpecialIds(*text, v));
  OCTAVO_ASSIGN_OR_RETURN(v.chat_template, ReadTemplate(folder));
  return v;
}

}  // namespace octavo
