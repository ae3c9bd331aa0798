// SPDX-License-Identifier: Apache-2.0
// Parsing of /v1/chat/completions bodies: messages, tools and how tools must be used.
#include "server/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace octavo::server {
namespace {

constexpr std::string_view kRoles[] = {"system", "developer", "user",
                                       "assistant", "tool", "function"};

// Content parts become one text; anything but text is refused (no URL is ever fetched).
bool FlattenContent(FieldReader& reader, size_t index, Json& message) {
  const auto it = message.find("content");
  if (it == message.end() || it->is_null()) {
    message["content"] = "";
    return true;
  }
  if (it->is_string()) return true;
  if (!it->is_array()) {
    reader.Fail("messages", fmt::format("messages[{}].content wants a string or parts", index));
    return false;
  }
  std::string text;
  for (const Json& part : *it) {
    const Json* type = Find(part, "type");
    const Json* value = Find(part, "text");
    const bool is_text = value != nullptr && value->is_string() &&
                         (type == nullptr || *type == "text" || *type == "input_text" ||
                          *type == "output_text");
    if (!is_text) {
      reader.Fail("messages", fmt::format("messages[{}].content has a part that is not text; this "
                                          "server takes text only", index));
      return false;
    }
    if (!text.empty()) text += '\n';
    text += value->get<std::string>();
  }
  *it = std::move(text);
  return true;
}

// Templates want call arguments as objects; clients send them as JSON texts.
bool ParseCallArguments(FieldReader& reader, size_t index, Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) {
    if (calls != message.end()) message.erase("tool_calls");
    return true;
  }
  if (!calls->is_array() || calls->size() > 256) {
    reader.Fail("messages", fmt::format("messages[{}].tool_calls wants an array", index));
    return false;
  }
  for (Json& call : *calls) {
    const Json* function = Find(call, "function");
    const Json* name = function == nullptr ? nullptr : Find(*function, "name");
    if (name == nullptr || !name->is_string()) {
      reader.Fail("messages", fmt::format("messages[{}].tool_calls has a call without a name", index));
      return false;
    }
    Json& arguments = call["function"]["arguments"];
    if (arguments.is_null()) arguments = Json::object();
    if (!arguments.is_string()) continue;
    JsonLimits limits;
    limits.max_depth = 64;
    auto parsed = ParseJson(arguments.get_ref<const std::string&>(), limits);
    if (parsed.ok() && parsed->is_object()) arguments = std::move(*parsed);
  }
  if (calls->empty()) message.erase("tool_calls");
  return true;
}

bool ReadMessage(FieldReader& reader, size_t index, Json& message) {
  const Json* role = Find(message, "role");
  if (role == nullptr || !role->is_string()) {
    reader.Fail("messages", fmt::format("messages[{}] wants an object with a 'role'", index));
    return false;
  }
  const auto& name = role->get_ref<const std::string&>();
  if (std::find(std::begin(kRoles), std::end(kRoles), name) == std::end(kRoles)) {
    reader.Fail("messages", fmt::format("messages[{}].role is '{}', want system, developer, user, "
                                        "assistant or tool", index, name.substr(0, 40)));
    return false;
  }
  // OpenAI's newer word; no open model's template knows it.
  if (name == "developer") message["role"] = "system";
  return FlattenContent(reader, index, message) && ParseCallArguments(reader, index, message);
}

Json ReadMessages(FieldReader& reader, size_t max_messages) {
  const Json* value = reader.Value("messages");
  if (reader.error()) return {};
  if (value == nullptr || !value->is_array() || value->empty() || value->size() > max_messages) {
    reader.Fail("messages", fmt::format("'messages' wants an array of 1 to {}", max_messages));
    return {};
  }
  Json messages = *value;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!ReadMessage(reader, i, messages[i])) return {};
  }
  return messages;
}

const Json* ReadTools(FieldReader& reader, size_t max_tools) {
  const Json* tools = reader.Value("tools");
  if (tools == nullptr || (tools->is_array() && tools->empty())) return nullptr;
  if (!tools->is_array() || tools->size() > max_tools) {
    reader.Fail("tools", fmt::format("'tools' wants an array of at most {}", max_tools));
    return nullptr;
  }
  for (const Json& tool : *tools) {
    const Json* function = Find(tool, "function");
    const Json* name = function == nullptr ? nullptr : Find(*function, "name");
    if (name == nullptr || !name->is_string()) {
      reader.Fail("tools", "'tools' wants {\"type\": \"function\", \"function\": {\"name\": ...}}");
      return nullptr;
    }
  }
  return tools;
}

// The schema of one function's arguments.
Json ParametersOf(const Json& tool) {
  const Json* parameters = Find(tool["function"], "parameters");
  return parameters == nullptr ? Json{{"type", "object"}} : *parameters;
}

// Makes the model write what the choice demands: one function's arguments, or an array of calls.
void ForceTools(FieldReader& reader, const Json& tools, ChatCompletionRequest& request) {
  StructuredOutput& out = request.generation.params.structured_output;
  if (out.kind != StructuredOutput::Kind::kNone) {
    return reader.Fail("tool_choice", "'tool_choice' that forces a call beside structured output");
  }
  out.kind = StructuredOutput::Kind::kJsonSchema;
  if (request.tool_choice == ToolChoice::kNamed) {
    const auto named = std::find_if(tools.begin(), tools.end(), [&](const Json& tool) {
      return tool["function"]["name"] == request.tool_name;
    });
    if (named == tools.end()) {
      return reader.Fail("tool_choice",
                         fmt::format("'tool_choice' names '{}', which is not in 'tools'",
                                     request.tool_name.substr(0, 80)));
    }
    out.spec = DumpJson(ParametersOf(*named));
    return;
  }
  Json any = Json::array();
  for (const Json& tool : tools) {
    any.push_back({{"type", "object"},
                   {"properties",
                    {{"name", {{"type", "string"}, {"enum", Json::array({tool["function"]["name"]})}}},
                     {"parameters", ParametersOf(tool)}}},
                   {"required", {"name", "parameters"}},
                   {"additionalProperties", false}});
  }
  Json schema = {{"type", "array"}, {"minItems", 1}, {"items", {{"anyOf", std::move(any)}}}};
  if (!request.parallel_tool_calls) schema["maxItems"] = 1;
  out.spec = DumpJson(schema);
}

void ReadToolChoice(FieldReader& reader, const Json* tools, ChatCompletionRequest& request) {
  request.tool_choice = tools == nullptr ? ToolChoice::kNone : ToolChoice::kAuto;
  if (auto v = reader.Bool("parallel_tool_calls")) request.parallel_tool_calls = *v;
  const Json* choice = reader.Value("tool_choice");
  if (choice == nullptr) return;
  const Json* function = Find(*choice, "function");
  const Json* name = function == nullptr ? nullptr : Find(*function, "name");
  if (name != nullptr && name->is_string()) {
    request.tool_choice = ToolChoice::kNamed;
    request.tool_name = name->get<std::string>();
  } else if (*choice == "none") {
    request.tool_choice = ToolChoice::kNone;
  } else if (*choice == "required") {
    request.tool_choice = ToolChoice::kRequired;
  } else if (*choice != "auto") {
    return reader.Fail("tool_choice",
                       "'tool_choice' wants 'none', 'auto', 'required' or a function by name");
  }
  const bool forced = request.tool_choice == ToolChoice::kNamed ||
                      request.tool_choice == ToolChoice::kRequired;
  if (!forced) return;
  if (tools == nullptr) return reader.Fail("tool_choice", "'tool_choice' wants 'tools'");
  ForceTools(reader, *tools, request);
}

void ReadLogprobs(FieldReader& reader, int64_t max_logprobs, SamplingParams& params) {
  const bool logprobs = reader.Bool("logprobs").value_or(false);
  const auto top = reader.Integer("top_logprobs", 0, max_logprobs);
  if (top && *top > 0 && !logprobs) {
    return reader.Fail("top_logprobs", "'top_logprobs' wants 'logprobs': true");
  }
  if (logprobs) params.logprobs = static_cast<int32_t>(top.value_or(0));
}

}  // namespace

void ReadChatFields(FieldReader& reader, const RequestLimits& limits, const ChatPolicy& policy,
                    ChatRequest& chat) {
  const Json messages = ReadMessages(reader, limits.max_messages);
  if (reader.error()) return;
  chat.messages_json = DumpJson(messages);
  const Json* tools = ReadTools(reader, limits.max_tools);
  if (tools != nullptr) chat.tools_json = DumpJson(*tools);
  Json kwargs = Json::object();
  if (const Json* extra = reader.Value("chat_template_kwargs")) {
    if (!extra->is_object()) {
      return reader.Fail("chat_template_kwargs", "'chat_template_kwargs' wants an object");
    }
    kwargs = *extra;
  }
  if (auto effort = reader.String("reasoning_effort", 32)) kwargs["reasoning_effort"] = *effort;
  if (!kwargs.empty()) chat.kwargs_json = DumpJson(kwargs);
  if (auto v = reader.Bool("add_generation_prompt")) chat.add_generation_prompt = *v;
  if (auto v = reader.Bool("continue_final_message")) chat.continue_final_message = *v;
  if (chat.continue_final_message) {
    if (chat.add_generation_prompt && reader.Value("add_generation_prompt") != nullptr) {
      return reader.Fail("continue_final_message",
                         "'continue_final_message' goes with 'add_generation_prompt': false");
    }
    chat.add_generation_prompt = false;
  }
  if (auto text = reader.String("chat_template", size_t{256} << 10)) {
    if (!policy.trust_request_chat_template) {
      return reader.Fail("chat_template",
                         "templates in requests are not allowed (--trust-request-chat-template)");
    }
    chat.chat_template = std::move(*text);
  }
}

ChatCompletionRequest ReadChatCompletionRequest(FieldReader& reader, const RequestLimits& limits,
                                                const ChatPolicy& policy,
                                                const SamplingParams& defaults) {
  ChatCompletionRequest request;
  GenerationRequest& generation = request.generation;
  generation.params = defaults;
  // A chat may fill the context unless it says otherwise.
  generation.params.max_tokens.reset();
  generation.add_special_tokens = false;
  request.model = reader.String("model", 1024).value_or("");
  ReadChatFields(reader, limits, policy, request.chat);
  ReadSamplingFields(reader, limits, generation);
  if (auto v = reader.Integer("max_completion_tokens", 0, int64_t{1} << 40)) {
    generation.params.max_tokens = *v;
  }
  ReadLogprobs(reader, limits.max_logprobs, generation.params);
  request.stream = ReadStreamFields(reader);
  if (auto v = reader.Bool("add_special_tokens")) generation.add_special_tokens = *v;
  request.echo = reader.Bool("echo").value_or(false);
  request.tokens_as_ids = reader.Bool("return_tokens_as_token_ids").value_or(false);
  request.return_token_ids = reader.Bool("return_token_ids").value_or(false);
  if (auto v = reader.Bool("include_reasoning")) request.include_reasoning = *v;
  const Json* tools = reader.Value("tools");
  if (tools != nullptr && tools->empty()) tools = nullptr;
  if (!reader.error()) ReadToolChoice(reader, tools, request);
  for (const char* key : {"functions", "function_call", "modalities", "audio", "prediction",
                          "web_search_options", "verbosity", "documents", "mm_processor_kwargs",
                          "media_io_kwargs", "prompt_cache_key", "structural_tag"}) {
    reader.Unsupported(key, {Json("auto"), Json("none"), Json::array({"text"})});
  }
  if (request.stream.stream && generation.params.use_beam_search) {
    reader.Fail("stream", "'stream' does not go with 'use_beam_search'");
  }
  if (request.echo && !reader.error()) {
    const Json& last = reader.Value("messages")->back();
    const Json* content = Find(last, "content");
    if (content != nullptr && content->is_string()) request.echo_text = content->get<std::string>();
  }
  return request;
}

}  // namespace octavo::server
