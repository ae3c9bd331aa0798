// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions: the request's fields and the replies' format.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "octavo/engine.h"
#include "server/field_reader.h"
#include "server/output_parser.h"
#include "server/reply_formatter.h"
#include "server/sampling_fields.h"

namespace octavo::server {

enum class ToolChoice { kNone, kAuto, kRequired, kNamed };

struct ChatCompletionRequest {
  std::string model;
  ChatRequest chat;               // What the template renders.
  GenerationRequest generation;   // All but the prompt.
  StreamFields stream;
  ToolChoice tool_choice = ToolChoice::kNone;
  std::string tool_name;          // kNamed only
  bool parallel_tool_calls = true;
  bool echo = false;              // Repeat the last message's text before the answer.
  std::string echo_text;
  bool tokens_as_ids = false;
  bool return_token_ids = false;
  bool include_reasoning = true;
};

// What may come from requests; both are server options.
struct ChatPolicy {
  bool trust_request_chat_template = false;
  ToolFormat tool_format = ToolFormat::kNone;
};

// The fields that decide the prompt's text, shared with /tokenize.
void ReadChatFields(FieldReader& reader, const RequestLimits& limits, const ChatPolicy& policy,
                    ChatRequest& chat);

ChatCompletionRequest ReadChatCompletionRequest(FieldReader& reader, const RequestLimits& limits,
                                                const ChatPolicy& policy,
                                                const SamplingParams& defaults);

struct ChatFormat {
  std::string id;     // "chatcmpl-..."
  std::string model;  // as served
  int64_t created = 0;
  int32_t n = 1;
  bool logprobs = false;
  bool tokens_as_ids = false;
  bool return_token_ids = false;
  bool continuous_usage_stats = false;
  bool include_reasoning = true;
  bool prompt_logprobs_asked = false;
  std::string echo_text;
  std::string forced_tool;  // All text is the arguments of this function (a named tool choice).
  bool forced_calls = false;  // All text is a JSON array of calls (tool_choice "required").
  bool one_call = false;      // parallel_tool_calls: false
  OutputParser::Options parser;
};
std::unique_ptr<ReplyFormatter> MakeChatFormatter(ChatFormat format);

}  // namespace octavo::server
