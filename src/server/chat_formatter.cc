// SPDX-License-Identifier: Apache-2.0
// Replies of /v1/chat/completions: messages with reasoning, content and tool calls.
#include <fmt/format.h>

#include <map>
#include <utility>

#include "server/chat_request.h"

namespace octavo::server {
namespace {

// What one choice has produced so far.
struct ChatChoice {
  explicit ChatChoice(const OutputParser::Options& options) : parser(options) {}

  OutputParser parser;
  std::string reasoning;
  std::string content;
  std::string forced_text;  // Collected when the whole text is one JSON value (forced tools).
  std::vector<ToolCall> tool_calls;
  std::vector<int32_t> token_ids;
  Json logprobs_content = Json::array();
  std::optional<FinishReason> finish_reason;
  Json stop_reason;
  bool role_sent = false;
  size_t calls_sent = 0;
};

Json TokenJson(const TokenLogprob& token, bool as_id) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", TokenText(token, as_id)},
          {"logprob", FiniteLogprob(token.logprob)},
          {"bytes", std::move(bytes)}};
}

class ChatFormatter : public ReplyFormatter {
 public:
  explicit ChatFormatter(ChatFormat format) : format_(std::move(format)) {}

  void Begin(std::string& events) override {
    for (int32_t i = 0; i < format_.n; ++i) {
      Json delta = {{"role", "assistant"}, {"content", format_.echo_text}};
      AppendEvent(events, Chunk(i, std::move(delta), nullptr));
    }
  }

  void Stream(size_t /*prompt*/, RequestOutput output, const Usage& usage,
              std::string& events) override {
    for (CompletionDelta& delta : output.choices) {
      ChatChoice& choice = ChoiceOf(delta.index);
      const ParsedPiece piece = Parse(choice, delta);
      Json logprobs = format_.logprobs ? LogprobsJson(delta) : Json(nullptr);
      Json wire = DeltaJson(choice, piece);
      const bool silent = wire.empty() && !delta.finish_reason && logprobs.is_null();
      if (silent && !format_.return_token_ids) continue;
      Json chunk = Chunk(delta.index, std::move(wire), std::move(logprobs));
      Json& out = chunk["choices"][0];
      if (delta.finish_reason) SetFinish(choice, out);
      if (format_.return_token_ids) out["token_ids"] = delta.token_ids;
      if (format_.continuous_usage_stats) chunk["usage"] = UsageJson(usage);
      AppendEvent(events, chunk);
    }
  }

  Json UsageChunk(const Usage& usage) override {
    Json chunk = Envelope("chat.completion.chunk");
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(usage);
    return chunk;
  }

  void Collect(size_t /*prompt*/, RequestOutput output) override {
    if (!output.prompt_logprobs.empty()) prompt_logprobs_ = std::move(output.prompt_logprobs);
    for (CompletionDelta& delta : output.choices) {
      ChatChoice& choice = ChoiceOf(delta.index);
      ParsedPiece piece = Parse(choice, delta);
      choice.reasoning += piece.reasoning;
      choice.content += piece.content;
      for (ToolCall& call : piece.tool_calls) choice.tool_calls.push_back(std::move(call));
      choice.token_ids.insert(choice.token_ids.end(), delta.token_ids.begin(),
                              delta.token_ids.end());
      for (const PositionLogprobs& position : delta.logprobs) {
        choice.logprobs_content.push_back(PositionJson(position));
      }
    }
  }

  Json Result(const Usage& usage) override {
    Json reply = Envelope("chat.completion");
    reply["choices"] = Json::array();
    for (auto& [index, choice] : choices_) reply["choices"].push_back(ChoiceJson(index, choice));
    reply["usage"] = UsageJson(usage);
    if (format_.prompt_logprobs_asked) {
      reply["prompt_logprobs"] = PromptLogprobsJson(prompt_logprobs_);
    }
    return reply;
  }

 private:
  ChatChoice& ChoiceOf(int32_t index) {
    return choices_.try_emplace(index, format_.parser).first->second;
  }

  Json Envelope(const char* object) const {
    return {{"id", format_.id},
            {"object", object},
            {"created", format_.created},
            {"model", format_.model}};
  }

  Json Chunk(int32_t index, Json delta, Json logprobs) const {
    Json chunk = Envelope("chat.completion.chunk");
    chunk["choices"] = Json::array({{{"index", index},
                                     {"delta", std::move(delta)},
                                     {"logprobs", std::move(logprobs)},
                                     {"finish_reason", nullptr}}});
    return chunk;
  }

  // Runs the new text through the parser, or collects it where the whole text is calls.
  ParsedPiece Parse(ChatChoice& choice, const CompletionDelta& delta) {
    if (delta.finish_reason) {
      choice.finish_reason = delta.finish_reason;
      if (delta.stop_token_id) {
        choice.stop_reason = *delta.stop_token_id;
      } else if (!delta.stop_string.empty()) {
        choice.stop_reason = delta.stop_string;
      }
    }
    ParsedPiece piece;
    if (!format_.forced_tool.empty() || format_.forced_calls) {
      choice.forced_text += delta.text;
      if (delta.finish_reason) piece = ForcedCalls(choice.forced_text);
    } else {
      piece = choice.parser.Push(delta.text);
      if (delta.finish_reason) Append(piece, choice.parser.Finish());
    }
    if (!format_.include_reasoning) piece.reasoning.clear();
    if (format_.one_call && choice.calls_sent + piece.tool_calls.size() > 1) {
      piece.tool_calls.resize(choice.calls_sent == 0 ? 1 : 0);
    }
    choice.calls_sent += piece.tool_calls.size();
    return piece;
  }

  static void Append(ParsedPiece& piece, ParsedPiece rest) {
    piece.reasoning += rest.reasoning;
    piece.content += rest.content;
    for (ToolCall& call : rest.tool_calls) piece.tool_calls.push_back(std::move(call));
  }

  ParsedPiece ForcedCalls(const std::string& text) const {
    ParsedPiece piece;
    if (!format_.forced_tool.empty()) {
      piece.tool_calls.push_back({format_.forced_tool, text});
      return piece;
    }
    // The array form is what the mistral format has after its mark.
    OutputParser parser({.tools = ToolFormat::kMistral});
    piece = parser.Push("[TOOL_CALLS]" + text);
    Append(piece, parser.Finish());
    return piece;
  }

  Json CallJson(const ToolCall& call, size_t number, bool streaming, int32_t choice) const {
    Json json = Json::object();
    if (streaming) json["index"] = number;
    json["id"] = fmt::format("call_{}_{}_{}", format_.id.substr(format_.id.find('-') + 1), choice,
                             number);
    json["type"] = "function";
    json["function"] = {{"name", call.name}, {"arguments", call.arguments}};
    return json;
  }

  Json DeltaJson(const ChatChoice& choice, const ParsedPiece& piece) const {
    Json delta = Json::object();
    if (!piece.reasoning.empty()) delta["reasoning_content"] = piece.reasoning;
    if (!piece.content.empty()) delta["content"] = piece.content;
    if (piece.tool_calls.empty()) return delta;
    delta["tool_calls"] = Json::array();
    const size_t first = choice.calls_sent - piece.tool_calls.size();
    for (size_t i = 0; i < piece.tool_calls.size(); ++i) {
      delta["tool_calls"].push_back(CallJson(piece.tool_calls[i], first + i, true, IndexOf(choice)));
    }
    return delta;
  }

  int32_t IndexOf(const ChatChoice& choice) const {
    for (const auto& [index, other] : choices_) {
      if (&other == &choice) return index;
    }
    return 0;
  }

  Json PositionJson(const PositionLogprobs& position) const {
    Json json = TokenJson(position.token, format_.tokens_as_ids);
    json["top_logprobs"] = Json::array();
    for (const TokenLogprob& token : position.top) {
      json["top_logprobs"].push_back(TokenJson(token, format_.tokens_as_ids));
    }
    return json;
  }

  Json LogprobsJson(const CompletionDelta& delta) const {
    Json content = Json::array();
    for (const PositionLogprobs& position : delta.logprobs) content.push_back(PositionJson(position));
    return {{"content", std::move(content)}};
  }

  void SetFinish(const ChatChoice& choice, Json& out) const {
    const bool called = choice.calls_sent > 0 && choice.finish_reason == FinishReason::kStop;
    out["finish_reason"] = called ? Json("tool_calls") : FinishReasonJson(choice.finish_reason);
    out["stop_reason"] = choice.stop_reason;
  }

  Json ChoiceJson(int32_t index, ChatChoice& choice) const {
    Json message = {{"role", "assistant"}, {"content", nullptr}};
    std::string content = format_.echo_text + choice.content;
    if (!content.empty() || choice.tool_calls.empty()) message["content"] = std::move(content);
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    if (!choice.tool_calls.empty()) {
      message["tool_calls"] = Json::array();
      for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
        message["tool_calls"].push_back(CallJson(choice.tool_calls[i], i, false, index));
      }
    }
    Json json = {{"index", index}, {"message", std::move(message)}, {"logprobs", nullptr}};
    if (format_.logprobs) json["logprobs"] = {{"content", std::move(choice.logprobs_content)}};
    SetFinish(choice, json);
    if (format_.return_token_ids) json["token_ids"] = choice.token_ids;
    return json;
  }

  const ChatFormat format_;
  std::map<int32_t, ChatChoice> choices_;
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs_;
};

}  // namespace

std::unique_ptr<ReplyFormatter> MakeChatFormatter(ChatFormat format) {
  return std::make_unique<ChatFormatter>(std::move(format));
}

}  // namespace octavo::server
