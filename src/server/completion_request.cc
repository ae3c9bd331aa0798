// SPDX-License-Identifier: Apache-2.0
// Parsing of /v1/completions bodies.
#include "server/completion_request.h"

#include <fmt/format.h>

#include <utility>

namespace octavo::server {
namespace {

constexpr size_t kMaxPromptIds = size_t{1} << 21;

// A list of integers as token ids; sets the reader's error on anything else.
std::vector<int32_t> IdsOf(FieldReader& reader, std::string_view key, const Json& list) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& element : list) {
    const bool fits = element.is_number_integer() && element.get<int64_t>() >= 0 &&
                      element.get<int64_t>() <= INT32_MAX &&
                      !(element.is_number_unsigned() && element.get<uint64_t>() > INT32_MAX);
    if (!fits) {
      reader.Fail(key, fmt::format("'{}' holds an array that is not all token ids", key));
      return {};
    }
    ids.push_back(element.get<int32_t>());
  }
  if (ids.empty()) reader.Fail(key, fmt::format("'{}' holds an empty array of token ids", key));
  return ids;
}

}  // namespace

void ReadPrompts(FieldReader& reader, std::string_view key, size_t max_prompts,
                 const GenerationRequest& defaults, std::vector<GenerationRequest>& out) {
  const Json* value = reader.Value(key);
  if (reader.error()) return;
  if (value == nullptr) return reader.Fail(key, fmt::format("'{}' is missing", key));
  const auto add_text = [&](const Json& text) {
    out.push_back(defaults);
    out.back().prompt = text.get<std::string>();
  };
  const auto add_ids = [&](const Json& list) {
    out.push_back(defaults);
    out.back().prompt_token_ids = IdsOf(reader, key, list);
  };
  if (value->is_string()) return add_text(*value);
  if (!value->is_array() || value->empty()) {
    return reader.Fail(key, fmt::format("'{}' wants text, token ids, or an array of either", key));
  }
  if (value->front().is_number()) {
    if (value->size() > kMaxPromptIds) {
      return reader.Fail(key, fmt::format("'{}' has {} token ids, want at most {}", key,
                                          value->size(), kMaxPromptIds));
    }
    return add_ids(*value);
  }
  if (value->size() > max_prompts) {
    return reader.Fail(key, fmt::format("'{}' has {} prompts, want at most {}", key, value->size(),
                                        max_prompts));
  }
  for (const Json& prompt : *value) {
    if (prompt.is_string()) {
      add_text(prompt);
    } else if (prompt.is_array()) {
      add_ids(prompt);
    } else {
      reader.Fail(key, fmt::format("'{}' wants an array of texts or of arrays of token ids", key));
    }
    if (reader.error()) return;
  }
}

CompletionRequest ReadCompletionRequest(FieldReader& reader, const RequestLimits& limits,
                                        const SamplingParams& defaults) {
  CompletionRequest request;
  GenerationRequest prototype;
  prototype.params = defaults;
  request.model = reader.String("model", 1024).value_or("");
  ReadSamplingFields(reader, limits, prototype);
  if (auto v = reader.Integer("logprobs", 0, limits.max_logprobs)) {
    prototype.params.logprobs = static_cast<int32_t>(*v);
  }
  if (auto v = reader.Bool("add_special_tokens")) prototype.add_special_tokens = *v;
  request.stream = ReadStreamFields(reader);
  request.echo = reader.Bool("echo").value_or(false);
  request.tokens_as_ids = reader.Bool("return_tokens_as_token_ids").value_or(false);
  request.return_token_ids = reader.Bool("return_token_ids").value_or(false);
  reader.Unsupported("suffix", {Json("")});
  if (request.stream.stream && prototype.params.use_beam_search) {
    reader.Fail("stream", "'stream' does not go with 'use_beam_search'");
  }
  if (request.echo && prototype.params.logprobs && !prototype.params.prompt_logprobs) {
    prototype.params.prompt_logprobs = prototype.params.logprobs;
  }
  ReadPrompts(reader, "prompt", limits.max_prompts, prototype, request.prompts);
  // Each prompt carries its own copy of the parameters.
  constexpr size_t kMaxSchemaCopies = size_t{64} << 20;
  if (request.prompts.size() * prototype.params.structured_output.spec.size() > kMaxSchemaCopies) {
    reader.Fail("prompt", "too many prompts for a schema of this size");
  }
  const size_t choices = request.prompts.size() * static_cast<size_t>(prototype.params.n);
  if (choices > limits.max_prompts) {
    reader.Fail("n", fmt::format("{} prompts times n = {} choices, want at most {}",
                                 request.prompts.size(), prototype.params.n, limits.max_prompts));
  }
  return request;
}

}  // namespace octavo::server
