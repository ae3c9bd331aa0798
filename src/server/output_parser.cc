// SPDX-License-Identifier: Apache-2.0
// OutputParser: a state machine over marks, with JSON parsing of complete calls only.
#include "server/output_parser.h"

#include <algorithm>
#include <utility>

#include "base/json.h"

namespace octavo::server {
namespace {

constexpr std::string_view kThinkOpen = "<think>";
constexpr std::string_view kThinkClose = "</think>";
constexpr std::string_view kHermesOpen = "<tool_call>";
constexpr std::string_view kHermesClose = "</tool_call>";
constexpr std::string_view kMistralOpen = "[TOOL_CALLS]";
constexpr std::string_view kPythonTag = "<|python_tag|>";
constexpr std::string_view kBlank = " \t\r\n";

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Length of the longest end of `text` that is a proper beginning of `mark`.
size_t PartialMark(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == mark.substr(0, n)) return n;
  }
  return 0;
}

// The end of the JSON value (object or array) that starts `text`, or nothing if it is incomplete.
std::optional<size_t> EndOfJson(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return i + 1;
  }
  return std::nullopt;
}

std::optional<ToolCall> CallFrom(const Json& json) {
  const Json* name = Find(json, "name");
  if (name == nullptr || !name->is_string()) return std::nullopt;
  const Json* arguments = Find(json, "arguments");
  if (arguments == nullptr) arguments = Find(json, "parameters");
  ToolCall call{name->get<std::string>(), "{}"};
  if (arguments != nullptr) {
    call.arguments =
        arguments->is_string() ? arguments->get<std::string>() : DumpJson(*arguments);
  }
  return call;
}

// One call or an array of calls; nothing if the text is not exactly that.
std::vector<ToolCall> ParseCalls(std::string_view text) {
  JsonLimits limits;
  limits.max_depth = 64;
  const auto json = ParseJson(Trim(text), limits);
  if (!json.ok()) return {};
  std::vector<ToolCall> calls;
  const Json list = json->is_array() ? *json : Json::array({*json});
  for (const Json& entry : list) {
    auto call = CallFrom(entry);
    if (!call) return {};
    calls.push_back(std::move(*call));
  }
  return calls;
}

}  // namespace

ToolFormat DetectToolFormat(std::string_view chat_template) {
  const auto has = [&](std::string_view mark) {
    return chat_template.find(mark) != std::string_view::npos;
  };
  if (has(kHermesOpen)) return ToolFormat::kHermes;
  if (has(kMistralOpen)) return ToolFormat::kMistral;
  if (has(kPythonTag) || (has("\"parameters\"") && has("ipython"))) return ToolFormat::kLlama3;
  return ToolFormat::kNone;
}

Result<ToolFormat> ToolFormatFromName(std::string_view name) {
  for (const ToolFormat format :
       {ToolFormat::kNone, ToolFormat::kHermes, ToolFormat::kMistral, ToolFormat::kLlama3}) {
    if (name == NameOf(format)) return format;
  }
  return NotFound("tool call parser '" + std::string(name) +
                  "', want auto, none, hermes, mistral or llama3_json");
}

std::string_view NameOf(ToolFormat format) {
  switch (format) {
    case ToolFormat::kNone: return "none";
    case ToolFormat::kHermes: return "hermes";
    case ToolFormat::kMistral: return "mistral";
    case ToolFormat::kLlama3: return "llama3_json";
  }
  return "none";
}

OutputParser::OutputParser(Options options)
    : options_(options),
      state_(options.split_reasoning && options.starts_in_reasoning ? State::kReasoning
                                                                    : State::kContent) {}

std::string_view OutputParser::OpenMark() const {
  switch (options_.tools) {
    case ToolFormat::kHermes: return kHermesOpen;
    case ToolFormat::kMistral: return kMistralOpen;
    default: return {};
  }
}

ParsedPiece OutputParser::Push(std::string_view text) {
  pending_.append(text);
  return Run(false);
}

ParsedPiece OutputParser::Finish() {
  ParsedPiece piece = Run(true);
  if (state_ == State::kReasoning) {
    piece.reasoning += pending_;
  } else {
    AddContent(piece, pending_);
  }
  pending_.clear();
  return piece;
}

ParsedPiece OutputParser::Run(bool at_end) {
  ParsedPiece piece;
  bool more = true;
  while (more && !pending_.empty()) {
    switch (state_) {
      case State::kReasoning: more = StepReasoning(piece, at_end); break;
      case State::kContent: more = StepContent(piece, at_end); break;
      case State::kCall: more = StepCall(piece, at_end); break;
    }
  }
  return piece;
}

void OutputParser::AddContent(ParsedPiece& piece, std::string_view text) {
  // Blank space around calls and after the reasoning belongs to the format, not to the answer.
  if (!content_started_ && (after_call_ || options_.split_reasoning)) {
    const size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return;
    text.remove_prefix(first);
  }
  if (text.empty()) return;
  content_started_ = true;
  piece.content.append(text);
}

bool OutputParser::StepReasoning(ParsedPiece& piece, bool at_end) {
  const size_t close = pending_.find(kThinkClose);
  if (close != std::string::npos) {
    piece.reasoning += pending_.substr(0, close);
    pending_.erase(0, close + kThinkClose.size());
    state_ = State::kContent;
    return true;
  }
  const size_t held = at_end ? 0 : PartialMark(pending_, kThinkClose);
  piece.reasoning += pending_.substr(0, pending_.size() - held);
  pending_.erase(0, pending_.size() - held);
  return false;
}

bool OutputParser::StepContent(ParsedPiece& piece, bool at_end) {
  if (options_.split_reasoning && !content_started_) {
    const std::string_view start = Trim(pending_);
    if (start.starts_with(kThinkOpen)) {
      pending_.erase(0, pending_.find(kThinkOpen) + kThinkOpen.size());
      state_ = State::kReasoning;
      return true;
    }
    if (!at_end && kThinkOpen.starts_with(start)) return false;
  }
  if (options_.tools == ToolFormat::kLlama3 && !content_started_) {
    const std::string_view start = Trim(pending_);
    if (start.starts_with('{') || start.starts_with(kPythonTag) || (after_call_ && start.starts_with(';'))) {
      state_ = State::kCall;
      return true;
    }
    if (!at_end && (start.empty() || kPythonTag.starts_with(start))) return false;
  }
  const std::string_view mark = OpenMark();
  if (!mark.empty()) {
    const size_t open = pending_.find(mark);
    if (open != std::string::npos) {
      std::string_view before = std::string_view(pending_).substr(0, open);
      while (!before.empty() && kBlank.find(before.back()) != std::string_view::npos) {
        before.remove_suffix(1);
      }
      AddContent(piece, before);
      pending_.erase(0, open);
      state_ = State::kCall;
      return true;
    }
  }
  size_t held = at_end || mark.empty() ? 0 : PartialMark(pending_, mark);
  if (!at_end && !mark.empty()) {
    // Blank space before a possible mark waits with it.
    while (held < pending_.size() &&
           kBlank.find(pending_[pending_.size() - held - 1]) != std::string_view::npos) {
      ++held;
    }
  }
  AddContent(piece, std::string_view(pending_).substr(0, pending_.size() - held));
  pending_.erase(0, pending_.size() - held);
  return false;
}

bool OutputParser::StepCall(ParsedPiece& piece, bool at_end) {
  const std::string_view text = pending_;
  size_t begin = OpenMark().size();
  if (options_.tools == ToolFormat::kLlama3) {
    begin = text.find_first_not_of(" \t\r\n;");
    if (begin == std::string_view::npos) return false;
    if (text.substr(begin).starts_with(kPythonTag)) begin += kPythonTag.size();
  }
  const size_t start = text.find_first_not_of(kBlank, std::min(begin, text.size()));
  std::optional<size_t> length;
  if (start != std::string_view::npos) length = EndOfJson(text.substr(start));
  size_t end = length ? start + *length : std::string_view::npos;
  if (length && options_.tools == ToolFormat::kHermes) {
    const size_t close = text.find(kHermesClose, end);
    // Weak models forget the closing mark at the very end.
    if (close == std::string_view::npos && !at_end) return false;
    if (close != std::string_view::npos) end = close + kHermesClose.size();
  }
  if (!length) {
    if (options_.tools != ToolFormat::kHermes || text.find(kHermesClose) == std::string_view::npos) {
      return false;  // Finish() gives an incomplete call out as content.
    }
    end = text.find(kHermesClose) + kHermesClose.size();
  }
  std::vector<ToolCall> calls;
  if (length) calls = ParseCalls(text.substr(start, *length));
  if (calls.empty()) {
    AddContent(piece, text.substr(0, end));
  } else {
    after_call_ = true;
    content_started_ = false;
    std::move(calls.begin(), calls.end(), std::back_inserter(piece.tool_calls));
  }
  pending_.erase(0, end);
  state_ = State::kContent;
  return true;
}

}  // namespace octavo::server
