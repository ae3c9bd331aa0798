// SPDX-License-Identifier: Apache-2.0
// Reads lines or cuts windows.
#include "quantizers/calibration_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/json.h"

namespace octavo {
namespace {

constexpr size_t kMaxTextBytes = size_t{16} << 20;
constexpr size_t kMaxFileBytes = size_t{2} << 30;

bool IsJsonLines(const std::string& path) {
  return path.ends_with(".jsonl") || path.ends_with(".json");
}

// Ids as another program tokenized them.
Result<std::vector<int32_t>> ReadIds(const Json& ids, const TextProcessor& text) {
  std::vector<int32_t> tokens;
  const int64_t vocab = text.tokenizer().vocab_size();
  if (!ids.is_array()) return InvalidArgument("'token_ids' is no array");
  for (const Json& id : ids) {
    const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
    if (value < 0 || value >= vocab) {
      return InvalidArgument(fmt::format("'token_ids' holds {}, want 0 to {}", DumpJson(id), vocab - 1));
    }
    tokens.push_back(static_cast<int32_t>(value));
  }
  return tokens;
}

// The ids of one line: its conversation, its text, or themselves.
Result<std::vector<int32_t>> EncodeLine(std::string_view line, const TextProcessor& text) {
  OCTAVO_ASSIGN_OR_RETURN(const Json json, ParseJson(line));
  if (const Json* messages = Find(json, "messages")) {
    if (text.chat_template() == nullptr) {
      return InvalidArgument("has 'messages', but the model has no chat template; give 'text'");
    }
    return text.EncodeChat(*messages, {.add_generation_prompt = false,
                                       .tools = {},
                                       .documents = {},
                                       .variables = Json::object(),
                                       .now = {}});
  }
  if (const Json* ids = Find(json, "token_ids")) return ReadIds(*ids, text);
  if (Find(json, "text") == nullptr) {
    return InvalidArgument("has neither 'messages' nor 'text' nor 'token_ids'");
  }
  OCTAVO_ASSIGN_OR_RETURN(const std::string plain, GetString(json, "text"));
  return text.EncodeText(plain);
}

Status ReadLines(const CalibrationDataOptions& options, std::string_view content,
                 const TextProcessor& text, CalibrationData& data) {
  const auto wanted = static_cast<size_t>(options.num_samples);
  for (int64_t number = 1; !content.empty() && data.samples.size() < wanted; ++number) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto tokens = EncodeLine(line, text);
    if (!tokens.ok()) {
      return std::move(tokens).status().WithContext(fmt::format("{} line {}", options.path, number));
    }
    if (tokens->empty()) continue;
    tokens->resize(std::min(tokens->size(), static_cast<size_t>(options.max_length)));
    data.samples.push_back(std::move(tokens).value());
  }
  return Status::Ok();
}

// What the tokenizer puts in front of every text (BOS), if anything.
Result<std::optional<int32_t>> PrefixToken(const TextProcessor& text) {
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<int32_t> affixes, text.EncodeText(""));
  const bool prefix = !affixes.empty() && text.bos_token_id() == affixes.front();
  return prefix ? std::optional<int32_t>(affixes.front()) : std::nullopt;
}

Status CutWindows(const CalibrationDataOptions& options, std::string_view content,
                  const TextProcessor& text, CalibrationData& data) {
  content = content.substr(0, kMaxTextBytes);
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                          text.tokenizer().Encode(content, /*add_special_tokens=*/false));
  OCTAVO_ASSIGN_OR_RETURN(const std::optional<int32_t> prefix, PrefixToken(text));
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t length = std::max<int64_t>(1, options.max_length - (prefix ? 1 : 0));
  const int64_t windows = std::max<int64_t>(total / length, total > 0 ? 1 : 0);
  const int64_t count = std::min(windows, options.num_samples);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = i * windows / count * length;
    const int64_t end = std::min(begin + length, total);
    std::vector<int32_t>& sample = data.samples.emplace_back();
    if (prefix) sample.push_back(*prefix);
    sample.insert(sample.end(), tokens.begin() + begin, tokens.begin() + end);
  }
  return Status::Ok();
}

#include "calibration_text.inc"

}  // namespace

std::string HashOf(std::span<const std::vector<int32_t>> samples) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const std::vector<int32_t>& sample : samples) {
    for (const int32_t token : sample) hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
    hash = (hash ^ 0xffffffffu) * 0x100000001b3u;
  }
  return fmt::format("{:016x}", hash);
}

std::string_view DefaultCalibrationText() { return kCalibrationText; }

Result<CalibrationData> LoadCalibrationData(const CalibrationDataOptions& options,
                                            const TextProcessor& text) {
  CalibrationData data;
  data.source = options.path.empty() ? "built-in" : options.path;
  std::string content;
  if (!options.path.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(content, ReadFile(options.path, kMaxFileBytes));
  }
  if (options.path.empty()) {
    OCTAVO_RETURN_IF_ERROR(CutWindows(options, DefaultCalibrationText(), text, data));
  } else if (IsJsonLines(options.path)) {
    OCTAVO_RETURN_IF_ERROR(ReadLines(options, content, text, data));
  } else {
    OCTAVO_RETURN_IF_ERROR(CutWindows(options, content, text, data));
  }
  if (data.samples.empty()) {
    return InvalidArgument(fmt::format("{}: no text to calibrate with", data.source));
  }
  for (const auto& sample : data.samples) data.num_tokens += static_cast<int64_t>(sample.size());
  return data;
}

}  // namespace octavo
