// SPDX-License-Identifier: Apache-2.0
// Chat templates: a conversation to the text that the model was trained on.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct ChatTemplateOptions {
  bool add_generation_prompt = true;
  Json tools;      // list of tool definitions; null: the variable is none
  Json documents;  // likewise
  // More variables by name, e.g. {"enable_thinking": false}; they override the ones above and the
  // special tokens.
  Json variables = Json::object();
  // What strftime_now shows; absent: the clock.
  std::optional<std::time_t> now;
};

// A parsed template. Immutable; Render is thread-safe.
//
// The language is Jinja2 as transformers sets it up: trim_blocks, lstrip_blocks, loop controls,
// raise_exception, strftime_now, and tojson without escaping of HTML or of non-ASCII characters.
// Not supported, with an error that says so: statements that need other files (include, import,
// extends, block), recursive loops, and argument unpacking.
class ChatTemplate {
 public:
  static constexpr size_t kMaxSourceBytes = size_t{1} << 20;

  // Parses. `special_tokens`: object of variables such as {"bos_token": "<s>"}.
  static Result<std::unique_ptr<ChatTemplate>> Create(std::string_view source, Json special_tokens);
  ~ChatTemplate();

  // `messages`: list of {"role": ..., "content": ...}. Errors name the template's line; a template
  // that calls raise_exception gives its message. Time, memory and output are bounded.
  Result<std::string> Render(const Json& messages, const ChatTemplateOptions& options) const;

  const std::string& source() const { return source_; }

 private:
  struct Program;
  ChatTemplate(std::string source, Json special_tokens, std::unique_ptr<Program> program);
  std::string source_;
  Json special_tokens_;
  std::unique_ptr<Program> program_;
};

}  // namespace octavo
