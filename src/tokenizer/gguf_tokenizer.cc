// SPDX-License-Identifier: Apache-2.0
// GGUF vocabularies: rebuilds the pipeline that the model's tokenizer.json would have.
#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/fast_split.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json SplitThenBytes(std::string_view regex) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", std::string(regex)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, ByteLevel(false)})}};
}

// The pre-tokenizer of a family name in "tokenizer.ggml.pre".
Result<Json> PreTokenizerOf(const std::string& pre) {
  const auto is_one_of = [&pre](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), pre) != names.end();
  };
  if (is_one_of({"", "default", "gpt-2", "phi-2", "olmo", "jais", "mpt", "roberta-bpe"})) {
    return ByteLevel(true);
  }
  if (is_one_of({"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"})) {
    return SplitThenBytes(RegexOf(KnownPattern::kLlama3));
  }
  if (is_one_of({"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"})) {
    return SplitThenBytes(RegexOf(KnownPattern::kQwen2));
  }
  if (is_one_of({"smollm", "starcoder", "refact", "command-r", "codeshell"})) {
    const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
    return Json({{"type", "Sequence"}, {"pretokenizers", Json::array({digits, ByteLevel(true)})}});
  }
  return Unimplemented(fmt::format("pre-tokenizer '{}' is not supported", pre.substr(0, 100)));
}

Status CheckSizes(const GgufVocabulary& v) {
  if (v.tokens.empty()) return DataLoss("tokenizer.ggml.tokens is missing or empty");
  const auto check = [&](std::string_view name, size_t size) {
    if (size == 0 || size == v.tokens.size()) return Status::Ok();
    return DataLoss(
        fmt::format("tokenizer.ggml.{}: {} entries, want {}", name, size, v.tokens.size()));
  };
  OCTAVO_RETURN_IF_ERROR(check("scores", v.scores.size()));
  OCTAVO_RETURN_IF_ERROR(check("token_type", v.token_types.size()));
  const auto in_range = [&](std::string_view name, std::optional<int64_t> id) {
    if (!id || (*id >= 0 && *id < static_cast<int64_t>(v.tokens.size()))) return Status::Ok();
    return DataLoss(
        fmt::format("tokenizer.ggml.{}: {}, want 0 to {}", name, *id, v.tokens.size() - 1));
  };
  OCTAVO_RETURN_IF_ERROR(in_range("bos_token_id", v.bos_token_id));
  OCTAVO_RETURN_IF_ERROR(in_range("eos_token_id", v.eos_token_id));
  OCTAVO_RETURN_IF_ERROR(in_range("unknown_token_id", v.unknown_token_id));
  return in_range("padding_token_id", v.padding_token_id);
}

GgufTokenType TypeOf(const GgufVocabulary& v, size_t id) {
  return v.token_types.empty() ? GgufTokenType::kNormal
                               : static_cast<GgufTokenType>(v.token_types[id]);
}

Json AddedTokensOf(const GgufVocabulary& v) {
  Json list = Json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const GgufTokenType type = TypeOf(v, id);
    const bool special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
    if (!special && type != GgufTokenType::kUserDefined) continue;
    list.push_back({{"content", ReplaceInvalidUtf8(v.tokens[id])},
                    {"special", special},
                    {"normalized", false}});
  }
  return list;
}

Json PostProcessorOf(const GgufVocabulary& v, bool bos_default) {
  const bool add_bos = v.add_bos_token.value_or(bos_default);
  const bool add_eos = v.add_eos_token.value_or(false);
  return MakeBosEosPostProcessor(add_bos ? v.bos_token_id : std::nullopt,
                                 add_eos ? v.eos_token_id : std::nullopt);
}

Result<TokenizerSpec> ByteLevelSpec(const GgufVocabulary& v) {
  TokenizerSpec spec;
  OCTAVO_ASSIGN_OR_RETURN(Json pre_tokenizer, PreTokenizerOf(v.pre));
  const bool llama3 = v.pre == "llama-bpe" || v.pre == "llama3" || v.pre == "llama-v3";
  spec.config = {{"version", "1.0"},
                 {"added_tokens", AddedTokensOf(v)},
                 {"normalizer", nullptr},
                 {"pre_tokenizer", std::move(pre_tokenizer)},
                 {"post_processor", PostProcessorOf(v, llama3)},
                 {"decoder", ByteLevel(true)},
                 {"model", {{"type", "BPE"}, {"ignore_merges", llama3}}}};
  // Hugging Face normalizes Qwen's text, llama.cpp does not; tokens follow the former.
  if (v.pre == "qwen2" || v.pre == "deepseek-r1-qwen")
    spec.config["normalizer"] = {{"type", "NFC"}};
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    spec.vocab.push_back({ReplaceInvalidUtf8(v.tokens[id]), static_cast<int32_t>(id), 0});
  }
  for (const std::string& merge : v.merges) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == merge.size()) {
      return DataLoss(fmt::format("tokenizer.ggml.merges[{}]: want two parts", spec.merges.size()));
    }
    spec.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return spec;
}

Result<TokenizerSpec> SentencePieceSpec(const GgufVocabulary& v) {
  if (v.scores.empty()) return DataLoss("tokenizer.ggml.scores is missing");
  SentencePieceModel model;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    model.pieces.push_back({ReplaceInvalidUtf8(v.tokens[id]), v.scores[id],
                            static_cast<SentencePieceModel::PieceType>(TypeOf(v, id))});
  }
  model.add_dummy_prefix = v.add_space_prefix.value_or(true);
  model.byte_fallback = true;
  model.unk_id = static_cast<int32_t>(v.unknown_token_id.value_or(0));
  OCTAVO_ASSIGN_OR_RETURN(TokenizerSpec spec, MakeSentencePieceSpec(std::move(model)));
  spec.config["post_processor"] = PostProcessorOf(v, true);
  return spec;
}

}  // namespace

Result<TokenizerSpec> MakeGgufTokenizerSpec(const GgufVocabulary& vocabulary) {
  OCTAVO_RETURN_IF_ERROR(CheckSizes(vocabulary));
  if (vocabulary.model == "gpt2") return ByteLevelSpec(vocabulary);
  if (vocabulary.model == "llama") return SentencePieceSpec(vocabulary);
  return Unimplemented(
      fmt::format("tokenizer.ggml.model '{}' is not supported", vocabulary.model.substr(0, 100)));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufVocabulary& vocabulary) {
  OCTAVO_ASSIGN_OR_RETURN(TokenizerSpec spec, MakeGgufTokenizerSpec(vocabulary));
  return FromSpec(std::move(spec));
}

}  // namespace octavo
