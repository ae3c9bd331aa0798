// SPDX-License-Identifier: Apache-2.0
// Routes that only handle text: /tokenize, /detokenize, /tokenizer_info.
#include <utility>

#include "server/api_call.h"

namespace octavo::server {
namespace {

constexpr size_t kMaxTextBytes = size_t{16} << 20;
constexpr size_t kMaxIds = size_t{1} << 21;

}  // namespace

void ApiServer::Tokenize(Call& call) {
  const ParsedBody body = ParseBody(call.request.body);
  if (body.error) return ReplyError(call, *body.error);
  FieldReader reader(body.json);
  const std::string model = reader.String("model", 1024).value_or("");
  const bool is_chat = reader.Value("messages") != nullptr;
  bool add_special_tokens = reader.Bool("add_special_tokens").value_or(!is_chat);
  const bool return_strings = reader.Bool("return_token_strs").value_or(false);
  std::string text;
  ChatRequest chat;
  if (is_chat) {
    ReadChatFields(reader, options_.limits, policy_, chat);
  } else if (auto prompt = reader.String("prompt", kMaxTextBytes)) {
    text = std::move(*prompt);
  } else {
    reader.Fail("prompt", "'prompt' or 'messages' is missing");
  }
  if (reader.error()) return ReplyError(call, *reader.error());
  if (auto error = CheckModel(model)) return ReplyError(call, *error);
  if (is_chat) {
    auto rendered = call.engine->RenderChat(chat);
    if (!rendered.ok()) return ReplyError(call, {400, rendered.status().message(), "messages", ""});
    text = std::move(*rendered);
  }
  const auto ids = call.engine->Encode(text, add_special_tokens);
  if (!ids.ok()) return ReplyError(call, ErrorFromStatus(ids.status()));
  Json json = {{"count", ids->size()},
               {"max_model_len", call.engine->model_info().max_model_len},
               {"tokens", *ids},
               {"token_strs", nullptr}};
  if (return_strings) {
    json["token_strs"] = Json::array();
    for (const int32_t id : *ids) {
      json["token_strs"].push_back(SanitizeUtf8(call.engine->TokenBytes(id)));
    }
  }
  ReplyJson(call, json);
}

void ApiServer::Detokenize(Call& call) {
  const ParsedBody body = ParseBody(call.request.body);
  if (body.error) return ReplyError(call, *body.error);
  FieldReader reader(body.json);
  const std::string model = reader.String("model", 1024).value_or("");
  const bool skip_special = reader.Bool("skip_special_tokens").value_or(false);
  const auto ids = reader.Ids("tokens", kMaxIds);
  if (!ids) reader.Fail("tokens", "'tokens' is missing");
  if (reader.error()) return ReplyError(call, *reader.error());
  if (auto error = CheckModel(model)) return ReplyError(call, *error);
  const auto text = call.engine->Decode(*ids, skip_special);
  if (!text.ok()) {
    ApiError error = ErrorFromStatus(text.status());
    error.param = "tokens";
    return ReplyError(call, error);
  }
  ReplyJson(call, {{"prompt", *text}});
}

void ApiServer::TokenizerInfo(Call& call) {
  const ModelInfo& info = call.engine->model_info();
  Json eos = Json::array();
  for (const int32_t id : info.eos_token_ids) {
    eos.push_back({{"id", id}, {"token", SanitizeUtf8(call.engine->TokenBytes(id))}});
  }
  ReplyJson(call, {{"model_type", info.model_type},
                   {"vocab_size", info.vocab_size},
                   {"model_max_length", info.max_model_len},
                   {"eos_tokens", std::move(eos)},
                   {"chat_template", call.engine->chat_template()}});
}

}  // namespace octavo::server
