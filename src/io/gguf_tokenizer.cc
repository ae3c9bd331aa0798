// SPDX-License-Identifier: Apache-2.0
// Copies the tokenizer.* keys of a GGUF into plain values.
#include <fmt/format.h>

#include "io/gguf_reader.h"

namespace octavo {
namespace {

Result<GgufTokenizerFields> ReadFields(const GgufMetadata& metadata) {
  GgufTokenizerFields fields;
  OCTAVO_ASSIGN_OR_RETURN(fields.model, metadata.GetString("tokenizer.ggml.model"));
  OCTAVO_ASSIGN_OR_RETURN(fields.pre, metadata.GetStringOr("tokenizer.ggml.pre", "default"));
  OCTAVO_ASSIGN_OR_RETURN(fields.tokens, metadata.GetStrings("tokenizer.ggml.tokens"));
  OCTAVO_ASSIGN_OR_RETURN(fields.scores, metadata.GetFloats("tokenizer.ggml.scores"));
  OCTAVO_ASSIGN_OR_RETURN(fields.token_types, metadata.GetInts("tokenizer.ggml.token_type"));
  OCTAVO_ASSIGN_OR_RETURN(fields.merges, metadata.GetStrings("tokenizer.ggml.merges"));
  OCTAVO_ASSIGN_OR_RETURN(fields.chat_template,
                          metadata.GetStringOr("tokenizer.chat_template", ""));
  const auto flag = [&](std::string_view key, bool& value, bool& present) -> Status {
    present = metadata.Find(key) != nullptr;
    OCTAVO_ASSIGN_OR_RETURN(value, metadata.GetBoolOr(key, value));
    return Status::Ok();
  };
  OCTAVO_RETURN_IF_ERROR(
      flag("tokenizer.ggml.add_bos_token", fields.add_bos_token, fields.has_add_bos_token));
  OCTAVO_RETURN_IF_ERROR(
      flag("tokenizer.ggml.add_eos_token", fields.add_eos_token, fields.has_add_eos_token));
  OCTAVO_RETURN_IF_ERROR(flag("tokenizer.ggml.add_space_prefix", fields.add_space_prefix,
                              fields.has_add_space_prefix));
  const auto num_tokens = static_cast<int64_t>(fields.tokens.size());
  const auto id = [&](std::string_view key, int64_t& value) -> Status {
    OCTAVO_ASSIGN_OR_RETURN(value, metadata.GetIntOr(key, -1));
    if (metadata.Find(key) == nullptr || (value >= 0 && value < num_tokens)) return Status::Ok();
    return InvalidArgument(
        fmt::format("metadata '{}' is {}, want an index of {} tokens", key, value, num_tokens));
  };
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.bos_token_id", fields.bos_token_id));
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.eos_token_id", fields.eos_token_id));
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.eot_token_id", fields.eot_token_id));
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.eom_token_id", fields.eom_token_id));
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.unknown_token_id", fields.unknown_token_id));
  OCTAVO_RETURN_IF_ERROR(id("tokenizer.ggml.padding_token_id", fields.padding_token_id));
  return fields;
}

}  // namespace

Result<GgufTokenizerFields> ReadGgufTokenizer(const GgufReader& gguf) {
  auto fields = ReadFields(gguf.metadata());
  if (!fields.ok()) return std::move(fields).status().WithContext(gguf.file().path());
  const size_t count = fields->tokens.size();
  for (const auto& [name, size] : {std::pair("scores", fields->scores.size()),
                                   std::pair("token_type", fields->token_types.size())}) {
    if (size == 0 || size == count) continue;
    return InvalidArgument(fmt::format("{}: metadata 'tokenizer.ggml.{}' has {} elements, want {}",
                                       gguf.file().path(), name, size, count));
  }
  if (count == 0) {
    return NotFound(gguf.file().path() + ": metadata 'tokenizer.ggml.tokens' is missing or empty");
  }
  return fields;
}

}  // namespace octavo
