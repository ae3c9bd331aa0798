// SPDX-License-Identifier: Apache-2.0
// Reads the files around a tokenizer with the precedence that transformers and vLLM use.
#include "tokenizer/text_processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "base/file.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/tiktoken.h"

namespace octavo {
namespace {

constexpr const char* kSpecialTokenNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                              "pad_token", "cls_token", "mask_token"};
constexpr size_t kMaxConfigBytes = size_t{64} << 20;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

// The file's JSON, or an empty object when there is no such file.
Result<Json> ReadOptional(const std::string& path) {
  if (!Exists(path)) return Json(Json::object());
  return ParseJsonFile(path, {.max_bytes = kMaxConfigBytes});
}

// A special token is written as text or as {"content": text, ...}.
std::optional<std::string> TokenText(const Json* value) {
  if (value != nullptr && value->is_object()) value = Find(*value, "content");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

// An id or a list of ids.
Status AppendIds(const Json* value, std::string_view where, std::vector<int32_t>* ids) {
  if (value == nullptr) return Status::Ok();
  const auto append = [&](const Json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      return DataLoss(fmt::format("{}: eos_token_id holds no token id", where));
    }
    ids->push_back(static_cast<int32_t>(id.get<uint64_t>()));
    return Status::Ok();
  };
  if (!value->is_array()) return append(*value);
  for (const Json& id : *value) OCTAVO_RETURN_IF_ERROR(append(id));
  return Status::Ok();
}

void SortUnique(std::vector<int32_t>* ids) {
  std::sort(ids->begin(), ids->end());
  ids->erase(std::unique(ids->begin(), ids->end()), ids->end());
}

Result<std::unique_ptr<Tokenizer>> SentencePieceFromFile(const std::string& path,
                                                         const Json& tokenizer_config) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  auto model = ParseSentencePieceModel(bytes);
  if (!model.ok()) return std::move(model).status().WithContext(path);
  OCTAVO_ASSIGN_OR_RETURN(const bool add_bos, GetBoolOr(tokenizer_config, "add_bos_token", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool add_eos, GetBoolOr(tokenizer_config, "add_eos_token", false));
  auto tokenizer = MakeSentencePieceTokenizer(std::move(model).value(), add_bos, add_eos);
  if (!tokenizer.ok()) return std::move(tokenizer).status().WithContext(path);
  return tokenizer;
}

// The only file of the folder with the extension, or nothing.
std::optional<std::string> FindByExtension(const std::string& folder, std::string_view extension) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == extension) return it->path().string();
  }
  return std::nullopt;
}

Result<std::unique_ptr<Tokenizer>> ReadTokenizer(const std::string& folder,
                                                 const Json& tokenizer_config) {
  if (Exists(folder + "/tokenizer.json")) return Tokenizer::FromFile(folder + "/tokenizer.json");
  for (const char* name : {"/tokenizer.model", "/tokenizer.model.v1", "/tokenizer.model.v3",
                           "/spiece.model", "/sentencepiece.bpe.model"}) {
    if (!Exists(folder + name)) continue;
    // Llama 3 keeps tiktoken's text format under this name.
    OCTAVO_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(folder + name));
    if (LooksLikeTiktoken(bytes)) return TiktokenFromFile(folder + name, tokenizer_config);
    return SentencePieceFromFile(folder + name, tokenizer_config);
  }
  if (const auto path = FindByExtension(folder, ".tiktoken")) {
    return TiktokenFromFile(*path, tokenizer_config);
  }
  return NotFound(fmt::format("{}: no tokenizer.json, tokenizer.model or *.tiktoken file", folder));
}

}  // namespace

Result<std::unique_ptr<TextProcessor>> TextProcessor::FromFolder(const std::string& folder) {
  std::unique_ptr<TextProcessor> made(new TextProcessor);
  OCTAVO_ASSIGN_OR_RETURN(const Json config, ReadOptional(folder + "/tokenizer_config.json"));
  OCTAVO_ASSIGN_OR_RETURN(made->tokenizer_, ReadTokenizer(folder, config));
  OCTAVO_RETURN_IF_ERROR(made->ReadSpecialTokens(folder, config));
  OCTAVO_RETURN_IF_ERROR(made->ApplyBosEosFlags(config));
  OCTAVO_RETURN_IF_ERROR(made->ReadChatTemplate(folder, config));
  OCTAVO_RETURN_IF_ERROR(made->ReadEosIds(folder));
  return made;
}

Result<std::unique_ptr<TextProcessor>> TextProcessor::FromGguf(const GgufVocabulary& vocabulary) {
  std::unique_ptr<TextProcessor> made(new TextProcessor);
  OCTAVO_ASSIGN_OR_RETURN(made->tokenizer_, Tokenizer::FromGguf(vocabulary));
  const auto add = [&](const char* name, std::optional<int64_t> id) {
    const std::string* token =
        id ? made->tokenizer_->IdToToken(static_cast<int32_t>(*id)) : nullptr;
    if (token != nullptr) made->special_tokens_[name] = *token;
  };
  add("bos_token", vocabulary.bos_token_id);
  add("eos_token", vocabulary.eos_token_id);
  add("unk_token", vocabulary.unknown_token_id);
  add("pad_token", vocabulary.padding_token_id);
  for (const auto& id : {vocabulary.eos_token_id, vocabulary.eot_token_id}) {
    if (id) made->eos_token_ids_.push_back(static_cast<int32_t>(*id));
  }
  // The metadata has one end token; chat models of these families stop at any of these.
  for (const char* token : {"<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"}) {
    const auto id = made->tokenizer_->TokenToId(token);
    if (id && made->tokenizer_->IsSpecial(*id)) made->eos_token_ids_.push_back(*id);
  }
  SortUnique(&made->eos_token_ids_);
  if (!vocabulary.chat_template.empty()) made->SetChatTemplate(vocabulary.chat_template);
  return made;
}

std::unique_ptr<TextProcessor> TextProcessor::FromTokenizer(std::unique_ptr<Tokenizer> tokenizer) {
  std::unique_ptr<TextProcessor> made(new TextProcessor);
  made->tokenizer_ = std::move(tokenizer);
  return made;
}

Status TextProcessor::ReadSpecialTokens(const std::string& folder, const Json& tokenizer_config) {
  OCTAVO_ASSIGN_OR_RETURN(const Json map, ReadOptional(folder + "/special_tokens_map.json"));
  for (const char* name : kSpecialTokenNames) {
    // tokenizer_config.json wins; an explicit null there means that there is none.
    const bool decided = tokenizer_config.is_object() && tokenizer_config.contains(name);
    const auto text = TokenText(Find(decided ? tokenizer_config : map, name));
    if (text) special_tokens_[name] = *text;
  }
  return Status::Ok();
}

Status TextProcessor::ApplyBosEosFlags(const Json& tokenizer_config) {
  using Ids = std::vector<int32_t>;
  const auto flagged = [&](const char* flag, const char* token, Ids current) -> Result<Ids> {
    const auto id = IdOf(token);
    if (Find(tokenizer_config, flag) == nullptr || !id) return current;
    OCTAVO_ASSIGN_OR_RETURN(const bool wanted, GetBoolOr(tokenizer_config, flag, false));
    if (wanted) return Ids{*id};
    return current == Ids{*id} ? Ids{} : current;
  };
  OCTAVO_ASSIGN_OR_RETURN(Ids prefix,
                          flagged("add_bos_token", "bos_token", tokenizer_->prefix_ids()));
  OCTAVO_ASSIGN_OR_RETURN(Ids suffix,
                          flagged("add_eos_token", "eos_token", tokenizer_->suffix_ids()));
  if (prefix != tokenizer_->prefix_ids()) prefix_rule_ = "add_bos_token";
  if (suffix != tokenizer_->suffix_ids()) suffix_rule_ = "add_eos_token";
  tokenizer_->SetAffixes(std::move(prefix), std::move(suffix));
  return Status::Ok();
}

void TextProcessor::SetChatTemplate(const std::string& source) {
  auto parsed = ChatTemplate::Create(source, special_tokens_);
  if (parsed.ok()) {
    chat_template_ = std::move(parsed).value();
  } else {
    chat_template_status_ = std::move(parsed).status();
  }
}

Status TextProcessor::ReadChatTemplate(const std::string& folder, const Json& tokenizer_config) {
  const std::string path = folder + "/chat_template.jinja";
  if (Exists(path)) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string source, ReadFile(path, kMaxConfigBytes));
    SetChatTemplate(source);
    return Status::Ok();
  }
  const Json* value = Find(tokenizer_config, "chat_template");
  if (value == nullptr) return Status::Ok();
  if (value->is_string()) SetChatTemplate(value->get<std::string>());
  if (!value->is_array()) return Status::Ok();
  for (const Json& entry : *value) {  // [{"name": "default", "template": "..."}]
    const Json* name = Find(entry, "name");
    const Json* source = Find(entry, "template");
    if (name != nullptr && *name == "default" && source != nullptr && source->is_string()) {
      SetChatTemplate(source->get<std::string>());
    }
  }
  return Status::Ok();
}

Status TextProcessor::ReadEosIds(const std::string& folder) {
  for (const char* name : {"/generation_config.json", "/config.json"}) {
    OCTAVO_ASSIGN_OR_RETURN(const Json config, ReadOptional(folder + name));
    OCTAVO_RETURN_IF_ERROR(AppendIds(Find(config, "eos_token_id"), folder + name, &eos_token_ids_));
    if (!eos_token_ids_.empty()) break;
  }
  if (const auto id = IdOf("eos_token")) eos_token_ids_.push_back(*id);
  SortUnique(&eos_token_ids_);
  return Status::Ok();
}

std::optional<int32_t> TextProcessor::IdOf(std::string_view special_token) const {
  const auto text = TokenText(Find(special_tokens_, special_token));
  return text ? tokenizer_->TokenToId(*text) : std::nullopt;
}

Result<std::string> TextProcessor::RenderChat(const Json& messages,
                                              const ChatTemplateOptions& options) const {
  if (chat_template_ != nullptr) return chat_template_->Render(messages, options);
  if (!chat_template_status_.ok()) {
    return Status(chat_template_status_).WithContext("the model's chat template");
  }
  return FailedPrecondition("the model has no chat template");
}

Result<std::vector<int32_t>> TextProcessor::EncodeChat(const Json& messages,
                                                       const ChatTemplateOptions& options) const {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, RenderChat(messages, options));
  return tokenizer_->Encode(text, false);
}

}  // namespace octavo
