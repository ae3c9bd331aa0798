// SPDX-License-Identifier: Apache-2.0
// Sets up the variables and runs the template.
#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include "tokenizer/jinja/evaluator.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/utf8.h"

namespace octavo {

struct ChatTemplate::Program {
  jinja::Block block;
};

ChatTemplate::ChatTemplate(std::string source, Json special_tokens,
                           std::unique_ptr<Program> program)
    : source_(std::move(source)),
      special_tokens_(std::move(special_tokens)),
      program_(std::move(program)) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Create(std::string_view source,
                                                           Json special_tokens) {
  if (source.size() > kMaxSourceBytes) {
    return ResourceExhausted(
        fmt::format("chat template of {} bytes, limit {}", source.size(), kMaxSourceBytes));
  }
  std::string text = ReplaceInvalidUtf8(source);
  auto program = std::make_unique<Program>();
  OCTAVO_ASSIGN_OR_RETURN(program->block, jinja::Parse(text));
  return std::unique_ptr<ChatTemplate>(
      new ChatTemplate(std::move(text), std::move(special_tokens), std::move(program)));
}

Result<std::string> ChatTemplate::Render(const Json& messages,
                                         const ChatTemplateOptions& options) const {
  jinja::Dict variables;
  const auto set = [&variables](std::string name, const Json& json) -> Status {
    OCTAVO_ASSIGN_OR_RETURN(jinja::Value value, jinja::Value::FromJson(json));
    variables.Set(jinja::Value::String(std::move(name)), std::move(value));
    return Status::Ok();
  };
  OCTAVO_RETURN_IF_ERROR(set("messages", messages));
  OCTAVO_RETURN_IF_ERROR(set("tools", options.tools));
  OCTAVO_RETURN_IF_ERROR(set("documents", options.documents));
  OCTAVO_RETURN_IF_ERROR(set("add_generation_prompt", options.add_generation_prompt));
  for (const Json* object : {&special_tokens_, &options.variables}) {
    if (!object->is_object()) continue;
    for (const auto& [name, value] : object->items()) OCTAVO_RETURN_IF_ERROR(set(name, value));
  }
  const std::time_t now = options.now ? *options.now : std::time(nullptr);
  jinja::Evaluator evaluator({}, std::move(variables), now);
  return evaluator.Run(program_->block);
}

}  // namespace octavo
