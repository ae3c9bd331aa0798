// SPDX-License-Identifier: Apache-2.0
// How one request wants its tokens chosen: vLLM's SamplingParams, by the same names and defaults.
//
// Order of operations on the logits of one position (vLLM V1's, section "Sampling" of its docs):
//   1. logprobs and ranks are taken from the raw logits, before anything below;
//   2. tokens a structured output forbids, and end tokens while min_tokens is not reached, become
//      -inf; logit_bias is added; then repetition, frequency and presence penalties;
//   3. temperature 0 takes the largest logit (ties: the lowest id);
//   4. otherwise logits / temperature, min_p, top_k, top_p, and one draw.
//
// Every draw is a pure function of (seed, choice index, position): it does not depend on what else
// runs, on preemption or on speculation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "octavo/status.h"

namespace octavo {

// What the text has to look like, enforced by masking tokens while it is generated.
struct StructuredOutput {
  enum class Kind : uint8_t {
    kNone,
    kJsonObject,  // any JSON object; `spec` unused
    kJsonSchema,  // `spec` is a JSON schema
    kRegex,       // `spec` is a regular expression that has to match all of the text
    kChoice,      // the text is one of `choices`
    kGrammar,     // `spec` is a context-free grammar in GBNF
  };
  Kind kind = Kind::kNone;
  std::string spec;
  std::vector<std::string> choices;
  // JSON kinds: allow no white space but one space after ':' and ','; keeps weak models from
  // filling their budget with blanks.
  bool compact_whitespace = true;
};

struct SamplingParams {
  // Choices to return for the prompt, at least 1. With use_beam_search it is the beam width.
  int32_t n = 1;

  // 0 is greedy; values in (0, 0.01) are raised to 0.01. At most 100.
  double temperature = 1.0;
  // Keep the k most likely tokens (ties with the k-th stay); 0 or -1 keeps all.
  int64_t top_k = 0;
  // Keep the smallest set of most likely tokens whose probability reaches top_p, in (0, 1].
  double top_p = 1.0;
  // Drop tokens less likely than min_p times the most likely one, in [0, 1].
  double min_p = 0.0;
  // Subtracted from the logit of every token generated so far, once or per occurrence, in [-2, 2].
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  // Divides positive and multiplies negative logits of tokens in prompt or output; > 0, at most 10.
  double repetition_penalty = 1.0;
  // Added to single tokens' logits; values are clamped to [-100, 100]. At most 1024 entries.
  std::vector<std::pair<int32_t, float>> logit_bias;
  // When set, only these tokens may be generated.
  std::optional<std::vector<int32_t>> allowed_token_ids;
  // Without a seed the engine derives one from its own seed and the order of submission.
  std::optional<uint64_t> seed;

  // Tokens to generate per choice; 0 is allowed (with prompt_logprobs it scores the prompt);
  // absent: as many as max_model_len leaves.
  std::optional<int64_t> max_tokens = 16;
  // End tokens and stop strings are ignored until this many tokens exist.
  int64_t min_tokens = 0;
  // Texts that end a choice. At most 64, of at most 1024 bytes.
  std::vector<std::string> stop;
  // Further tokens that end a choice, besides the model's own end-of-sequence tokens.
  std::vector<int32_t> stop_token_ids;
  // Keep the text of the stop string in the output.
  bool include_stop_str_in_output = false;
  // Run on after end-of-sequence tokens (stop_token_ids still count).
  bool ignore_eos = false;

  // Log-probabilities of each generated token and this many of the most likely ones; absent: none;
  // 0: the generated token's only. At most EngineOptions::max_logprobs.
  std::optional<int32_t> logprobs;
  // The same for the prompt's tokens (the first has none). Prompt positions are then computed even
  // if the prefix cache holds them.
  std::optional<int32_t> prompt_logprobs;

  // Leave out special tokens ("<|im_end|>") in texts.
  bool skip_special_tokens = true;
  // Off: token ids only, `text` stays empty (stop strings are then an error).
  bool detokenize = true;

  // Beam search of width n: keeps the n most likely continuations and returns them best first,
  // ordered by cumulative logprob / (tokens of prompt and output ^ length_penalty), as vLLM does.
  // Temperature has no effect. Excludes penalties,
  // stop strings, structured output and streaming: there is one output, at the end.
  bool use_beam_search = false;
  double length_penalty = 1.0;

  StructuredOutput structured_output;

  // InvalidArgument naming the field, what it is and what is allowed. Checks everything that does
  // not depend on a model; Submit checks the rest (vocabulary, context length, engine limits).
  Status Validate() const;
};

}  // namespace octavo
