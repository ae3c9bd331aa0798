// SPDX-License-Identifier: Apache-2.0
// Splits a chat answer, while it streams in, into reasoning, content and tool calls.
//
// Formats (what the families' chat templates teach their models to write):
//   hermes    <tool_call>{"name": ..., "arguments": {...}}</tool_call>, any number  (Qwen, Hermes, SmolLM)
//   mistral   [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...] up to the end
//   llama3    the whole answer is {"name": ..., "parameters": {...}}, maybe after <|python_tag|>,
//             several separated by ';'
// Reasoning is what stands between <think> and </think>.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo::server {

enum class ToolFormat { kNone, kHermes, kMistral, kLlama3 };

// The format whose marks a chat template contains; kNone if it has none of them.
ToolFormat DetectToolFormat(std::string_view chat_template);
// "none", "hermes", "mistral", "llama3_json"; not found otherwise.
Result<ToolFormat> ToolFormatFromName(std::string_view name);
std::string_view NameOf(ToolFormat format);

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
};

// What a piece of text turned out to be.
struct ParsedPiece {
  std::string reasoning;
  std::string content;
  std::vector<ToolCall> tool_calls;
};

class OutputParser {
 public:
  struct Options {
    ToolFormat tools = ToolFormat::kNone;
    bool split_reasoning = false;
    bool starts_in_reasoning = false;  // The prompt already opened <think>.
  };
  explicit OutputParser(Options options);

  // Takes text in and gives out what is certain by now; text that may still become a mark, and calls
  // that are not complete, are held back.
  ParsedPiece Push(std::string_view text);
  // The rest. An unfinished or malformed call comes out as content: nothing the model wrote is lost.
  ParsedPiece Finish();

 private:
  enum class State { kReasoning, kContent, kCall };

  // Each handles the front of pending_; false when it needs more text.
  bool StepReasoning(ParsedPiece& piece, bool at_end);
  bool StepContent(ParsedPiece& piece, bool at_end);
  bool StepCall(ParsedPiece& piece, bool at_end);
  std::string_view OpenMark() const;
  ParsedPiece Run(bool at_end);
  void AddContent(ParsedPiece& piece, std::string_view text);

  Options options_;
  State state_;
  std::string pending_;
  bool content_started_ = false;
  bool after_call_ = false;
};

}  // namespace octavo::server
