// SPDX-License-Identifier: Apache-2.0
// Checks of sampling parameters and engine options that need no model.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

#include "octavo/engine_options.h"
#include "octavo/request_output.h"
#include "octavo/sampling_params.h"

namespace octavo {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxBiases = 1024;

// NaN fails every comparison, hence the negation.
Status InRange(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return Status::Ok();
  return InvalidArgument(fmt::format("{}: {}, want [{}, {}]", name, value, low, high));
}

Status AtLeast(std::string_view name, int64_t value, int64_t low) {
  if (value >= low) return Status::Ok();
  return InvalidArgument(fmt::format("{}: {}, want at least {}", name, value, low));
}

Status OneOf(std::string_view name, std::string_view value,
             std::initializer_list<std::string_view> allowed) {
  for (const std::string_view candidate : allowed) {
    if (value == candidate) return Status::Ok();
  }
  return InvalidArgument(
      fmt::format("{}: '{}', want one of '{}'", name, value, fmt::join(allowed, "', '")));
}

Status CheckStops(const SamplingParams& p) {
  if (p.stop.size() > kMaxStops || p.stop_token_ids.size() > kMaxStops) {
    return InvalidArgument(fmt::format("stop: {} texts and {} token ids, at most {} each",
                                       p.stop.size(), p.stop_token_ids.size(), kMaxStops));
  }
  for (const std::string& stop : p.stop) {
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return InvalidArgument(
          fmt::format("stop: a text of {} bytes, want 1 to {}", stop.size(), kMaxStopBytes));
    }
  }
  if (!p.stop.empty() && !p.detokenize) {
    return InvalidArgument("stop: stop texts need detokenize");
  }
  return Status::Ok();
}

Status CheckBiases(const SamplingParams& p) {
  if (p.logit_bias.size() > kMaxBiases) {
    return InvalidArgument(
        fmt::format("logit_bias: {} entries, at most {}", p.logit_bias.size(), kMaxBiases));
  }
  for (const auto& [token, bias] : p.logit_bias) {
    if (std::isnan(bias))
      return InvalidArgument(fmt::format("logit_bias: NaN for token {}", token));
  }
  if (p.allowed_token_ids && p.allowed_token_ids->empty()) {
    return InvalidArgument("allowed_token_ids: empty, want at least one token");
  }
  return Status::Ok();
}

Status CheckBeam(const SamplingParams& p) {
  if (!p.use_beam_search) return Status::Ok();
  OCTAVO_RETURN_IF_ERROR(InRange("length_penalty", p.length_penalty, -10, 10));
  const bool plain = p.presence_penalty == 0 && p.frequency_penalty == 0 &&
                     p.repetition_penalty == 1 && p.logit_bias.empty() && !p.allowed_token_ids &&
                     p.stop.empty() && p.min_tokens == 0 && !p.logprobs && !p.prompt_logprobs &&
                     p.structured_output.kind == StructuredOutput::Kind::kNone;
  if (!plain) {
    return InvalidArgument(
        "use_beam_search: not together with penalties, logit_bias, allowed_token_ids, stop, "
        "min_tokens, logprobs, prompt_logprobs or structured output");
  }
  if (p.max_tokens && *p.max_tokens == 0) {
    return InvalidArgument("use_beam_search: max_tokens is 0, want at least 1");
  }
  return Status::Ok();
}

}  // namespace

std::string_view NameOf(FinishReason reason) {
  constexpr std::array<std::string_view, 4> kNames = {"stop", "length", "abort", "error"};
  return kNames[static_cast<size_t>(reason)];
}

Status SamplingParams::Validate() const {
  constexpr int64_t kMaxChoices = 1024;
  OCTAVO_RETURN_IF_ERROR(InRange("n", n, 1, kMaxChoices));
  OCTAVO_RETURN_IF_ERROR(InRange("temperature", temperature, 0, 100));
  OCTAVO_RETURN_IF_ERROR(AtLeast("top_k", top_k, -1));
  OCTAVO_RETURN_IF_ERROR(InRange("min_p", min_p, 0, 1));
  if (!(top_p > 0 && top_p <= 1)) {
    return InvalidArgument(fmt::format("top_p: {}, want (0, 1]", top_p));
  }
  OCTAVO_RETURN_IF_ERROR(InRange("presence_penalty", presence_penalty, -2, 2));
  OCTAVO_RETURN_IF_ERROR(InRange("frequency_penalty", frequency_penalty, -2, 2));
  if (!(repetition_penalty > 0 && repetition_penalty <= 10)) {
    return InvalidArgument(fmt::format("repetition_penalty: {}, want (0, 10]", repetition_penalty));
  }
  if (max_tokens) OCTAVO_RETURN_IF_ERROR(AtLeast("max_tokens", *max_tokens, 0));
  OCTAVO_RETURN_IF_ERROR(AtLeast("min_tokens", min_tokens, 0));
  if (max_tokens && min_tokens > *max_tokens) {
    return InvalidArgument(
        fmt::format("min_tokens: {}, more than max_tokens ({})", min_tokens, *max_tokens));
  }
  if (logprobs) OCTAVO_RETURN_IF_ERROR(AtLeast("logprobs", *logprobs, 0));
  if (prompt_logprobs) OCTAVO_RETURN_IF_ERROR(AtLeast("prompt_logprobs", *prompt_logprobs, 0));
  OCTAVO_RETURN_IF_ERROR(CheckStops(*this));
  OCTAVO_RETURN_IF_ERROR(CheckBiases(*this));
  return CheckBeam(*this);
}

Status EngineOptions::Validate() const {
  if (model.empty()) return InvalidArgument("model: empty, want a folder or a GGUF file");
  OCTAVO_RETURN_IF_ERROR(OneOf("dtype", dtype, {"auto", "bfloat16", "float32"}));
  OCTAVO_RETURN_IF_ERROR(
      OneOf("kv_cache_dtype", kv_cache_dtype,
            {"auto", "bfloat16", "float32", "fp8", "fp8_e4m3", "fp8_e5m2", "int8", "int4"}));
  OCTAVO_RETURN_IF_ERROR(OneOf("lm_head_dtype", lm_head_dtype, {"", "bf16", "int8", "int4"}));
  OCTAVO_RETURN_IF_ERROR(OneOf("gguf_activations", gguf_activations, {"int8", "16bit"}));
  OCTAVO_RETURN_IF_ERROR(AtLeast("max_model_len", max_model_len, 0));
  OCTAVO_RETURN_IF_ERROR(InRange("max_num_seqs", max_num_seqs, 1, 4096));
  OCTAVO_RETURN_IF_ERROR(InRange("max_num_batched_tokens", max_num_batched_tokens, 1, 1 << 17));
  OCTAVO_RETURN_IF_ERROR(AtLeast("long_prefill_token_threshold", long_prefill_token_threshold, 0));
  if (target_step_ms != kAutoTargetStepMs) {
    OCTAVO_RETURN_IF_ERROR(InRange("target_step_ms", target_step_ms, 0, 1e6));
  }
  OCTAVO_RETURN_IF_ERROR(AtLeast("max_num_queued_reqs", max_num_queued_reqs, 0));
  OCTAVO_RETURN_IF_ERROR(InRange("block_size", block_size, 16, 256));
  if (block_size % 16 != 0 || 256 % block_size != 0) {
    return InvalidArgument(fmt::format("block_size: {}, want 16, 32, 64, 128 or 256", block_size));
  }
  OCTAVO_RETURN_IF_ERROR(AtLeast("num_kv_blocks", num_kv_blocks, 0));
  OCTAVO_RETURN_IF_ERROR(InRange("num_speculative_tokens", num_speculative_tokens, 0, 63));
  OCTAVO_RETURN_IF_ERROR(InRange("prompt_lookup_min", prompt_lookup_min, 1, 32));
  OCTAVO_RETURN_IF_ERROR(InRange("prompt_lookup_max", prompt_lookup_max, prompt_lookup_min, 32));
  OCTAVO_RETURN_IF_ERROR(InRange("num_threads", num_threads, 0, 1024));
  return InRange("max_logprobs", max_logprobs, 0, 1024);
}

}  // namespace octavo
