// SPDX-License-Identifier: Apache-2.0
// Finds a model's text files and reads them.
#include "engine/model_text.h"

#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "models/gguf_vocabulary_reader.h"
#include "tokenizer/byte_map.h"

namespace octavo {
namespace {

Result<Json> ParseOptional(const std::string& text, std::string_view what, Json fallback) {
  if (text.empty()) return fallback;
  auto json = ParseJson(text);
  if (!json.ok()) return std::move(json).status().WithContext(what);
  return json;
}

// Byte tokens "<0x0A>" of SentencePiece vocabularies.
std::optional<char> ByteOf(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const size_t high = kDigits.find(token[3]);
  const size_t low = kDigits.find(token[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

}  // namespace

Result<std::unique_ptr<ModelText>> ModelText::Open(const EngineOptions& options,
                                                   const Checkpoint& checkpoint) {
  std::unique_ptr<ModelText> text(new ModelText());
  if (!options.tokenizer.empty() || !checkpoint.is_gguf()) {
    const std::string& folder = options.tokenizer.empty() ? checkpoint.path() : options.tokenizer;
    OCTAVO_ASSIGN_OR_RETURN(text->text_, TextProcessor::FromFolder(folder));
  } else {
    OCTAVO_ASSIGN_OR_RETURN(GgufVocabulary vocabulary, ReadGgufVocabulary(*checkpoint.gguf()));
    OCTAVO_ASSIGN_OR_RETURN(text->text_, TextProcessor::FromGguf(std::move(vocabulary)));
  }
  if (!options.chat_template.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(const std::string source,
                            ReadFile(options.chat_template, ChatTemplate::kMaxSourceBytes));
    auto parsed = ChatTemplate::Create(source, text->text_->special_tokens());
    if (!parsed.ok()) return std::move(parsed).status().WithContext(options.chat_template);
    text->own_template_ = std::move(parsed).value();
  }
  if (!checkpoint.is_gguf()) {
    const std::string path = checkpoint.path() + "/generation_config.json";
    OCTAVO_RETURN_IF_ERROR(text->ReadGenerationConfig(path));
  }
  text->byte_level_ =
      text->tokenizer().TokenToId("\u0120") && !text->tokenizer().TokenToId("<0x0A>");
  return text;
}

// The fields vLLM takes from generation_config.json.
Status ModelText::ReadGenerationConfig(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(const Json config, ParseJsonFile(path));
  SamplingParams& p = default_params_;
  const auto read = [&]() -> Status {
    OCTAVO_ASSIGN_OR_RETURN(p.temperature, GetDoubleOr(config, "temperature", p.temperature));
    OCTAVO_ASSIGN_OR_RETURN(p.top_k, GetIntOr(config, "top_k", p.top_k));
    OCTAVO_ASSIGN_OR_RETURN(p.top_p, GetDoubleOr(config, "top_p", p.top_p));
    OCTAVO_ASSIGN_OR_RETURN(p.min_p, GetDoubleOr(config, "min_p", p.min_p));
    OCTAVO_ASSIGN_OR_RETURN(p.repetition_penalty,
                            GetDoubleOr(config, "repetition_penalty", p.repetition_penalty));
    if (Find(config, "max_new_tokens") != nullptr) {
      OCTAVO_ASSIGN_OR_RETURN(p.max_tokens, GetInt(config, "max_new_tokens", 0));
    }
    return p.Validate();
  };
  return read().WithContext(path);
}

Result<std::string> ModelText::RenderChat(const ChatRequest& chat) const {
  OCTAVO_ASSIGN_OR_RETURN(const Json messages, ParseOptional(chat.messages_json, "messages", {}));
  ChatTemplateOptions options;
  OCTAVO_ASSIGN_OR_RETURN(options.tools, ParseOptional(chat.tools_json, "tools", {}));
  OCTAVO_ASSIGN_OR_RETURN(options.variables, ParseOptional(chat.kwargs_json,
                                                           "chat template "
                                                           "variables",
                                                           Json::object()));
  options.add_generation_prompt = chat.add_generation_prompt && !chat.continue_final_message;
  std::string text;
  if (!chat.chat_template.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(const auto given,
                            ChatTemplate::Create(chat.chat_template, text_->special_tokens()));
    OCTAVO_ASSIGN_OR_RETURN(text, given->Render(messages, options));
  } else if (own_template_ != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(text, own_template_->Render(messages, options));
  } else {
    OCTAVO_ASSIGN_OR_RETURN(text, text_->RenderChat(messages, options));
  }
  if (!chat.continue_final_message || !messages.is_array() || messages.empty()) return text;

  // Cut what the template puts after the last message's content.
  const Json* content = Find(messages.back(), "content");
  if (content == nullptr || !content->is_string()) return text;
  std::string last = content->get<std::string>();
  last.erase(last.find_last_not_of(" \t\r\n") + 1);
  const size_t at = text.rfind(last);
  if (at != std::string::npos) text.resize(at + last.size());
  return text;
}

std::string ModelText::TokenBytes(int32_t id) const {
  const std::string* token = tokenizer().IdToToken(id);
  if (token == nullptr) return {};
  std::string bytes;
  if (byte_level_) {
    AppendUnmappedBytes(*token, &bytes);
    return bytes;
  }
  if (const auto byte = ByteOf(*token)) return std::string(1, *byte);
  constexpr std::string_view kMetaspace = "\u2581";
  for (size_t i = 0; i < token->size();) {
    if (std::string_view(*token).substr(i).starts_with(kMetaspace)) {
      bytes += ' ';
      i += kMetaspace.size();
    } else {
      bytes += (*token)[i++];
    }
  }
  return bytes;
}

}  // namespace octavo
