// SPDX-License-Identifier: Apache-2.0
// Field by field from the wire to SamplingParams; ranges that depend on the model are the engine's.
#include "server/sampling_fields.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace octavo::server {
namespace {

constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxBiases = 1024;
constexpr size_t kMaxIds = 1 << 20;
constexpr int64_t kMaxTokens = int64_t{1} << 40;

void ReadStop(FieldReader& reader, std::vector<std::string>& stop) {
  const Json* value = reader.Value("stop");
  if (value == nullptr) return;
  Json list = value->is_string() ? Json::array({*value}) : *value;
  if (!list.is_array() || list.size() > kMaxStops) {
    return reader.Fail("stop", fmt::format("'stop' wants a string or at most {}", kMaxStops));
  }
  stop.clear();
  for (const Json& entry : list) {
    if (!entry.is_string() || entry.get_ref<const std::string&>().empty() ||
        entry.get_ref<const std::string&>().size() > kMaxStopBytes) {
      return reader.Fail("stop", fmt::format("'stop' wants strings of 1 to {} bytes", kMaxStopBytes));
    }
    stop.push_back(entry.get<std::string>());
  }
}

void ReadLogitBias(FieldReader& reader, std::vector<std::pair<int32_t, float>>& bias) {
  const Json* value = reader.Value("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object() || value->size() > kMaxBiases) {
    return reader.Fail("logit_bias",
                       fmt::format("'logit_bias' wants an object of at most {} token ids", kMaxBiases));
  }
  for (const auto& [key, amount] : value->items()) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      return reader.Fail("logit_bias", "'logit_bias' has a key that is not a token id");
    }
    const double number = amount.is_number() ? amount.get<double>() : 1e9;
    if (!(number >= -100 && number <= 100)) {
      return reader.Fail("logit_bias",
                         fmt::format("'logit_bias' of token {} wants a number from -100 to 100", id));
    }
    bias.emplace_back(id, static_cast<float>(number));
  }
}

void ReadPenalties(FieldReader& reader, SamplingParams& params) {
  if (auto v = reader.Number("presence_penalty", -2, 2)) params.presence_penalty = *v;
  if (auto v = reader.Number("frequency_penalty", -2, 2)) params.frequency_penalty = *v;
  if (auto v = reader.Number("repetition_penalty", 1e-3, 10)) params.repetition_penalty = *v;
}

void ReadSelection(FieldReader& reader, SamplingParams& params) {
  if (auto v = reader.Number("temperature", 0, 100)) params.temperature = *v;
  if (auto v = reader.Number("top_p", 0, 1)) {
    if (*v == 0) return reader.Fail("top_p", "'top_p' is 0, want more than 0 and at most 1");
    params.top_p = *v;
  }
  if (auto v = reader.Integer("top_k", -1, int64_t{1} << 31)) params.top_k = *v;
  if (auto v = reader.Number("min_p", 0, 1)) params.min_p = *v;
  // Any 64-bit integer is a seed; negative ones are as good as others.
  if (auto v = reader.Integer("seed", INT64_MIN, INT64_MAX)) params.seed = static_cast<uint64_t>(*v);
  ReadLogitBias(reader, params.logit_bias);
  if (auto ids = reader.Ids("allowed_token_ids", kMaxIds)) params.allowed_token_ids = std::move(*ids);
}

void ReadLength(FieldReader& reader, SamplingParams& params) {
  ReadStop(reader, params.stop);
  if (auto ids = reader.Ids("stop_token_ids", kMaxStops)) params.stop_token_ids = std::move(*ids);
  if (auto v = reader.Integer("min_tokens", 0, kMaxTokens)) params.min_tokens = *v;
  if (auto v = reader.Integer("max_tokens", 0, kMaxTokens)) params.max_tokens = *v;
  if (auto v = reader.Bool("ignore_eos")) params.ignore_eos = *v;
  if (auto v = reader.Bool("include_stop_str_in_output")) params.include_stop_str_in_output = *v;
}

// The one member of `structured_outputs` that is set.
void ReadStructuredMember(FieldReader& outer, const Json& object, size_t max_bytes,
                          StructuredOutput& out) {
  FieldReader reader(object);
  int kinds = 0;
  const auto set = [&](StructuredOutput::Kind kind, std::string spec) {
    if (spec.size() > max_bytes) {
      reader.Fail("structured_outputs",
                  fmt::format("schema or grammar of {} bytes, want at most {}", spec.size(), max_bytes));
    }
    out.kind = kind;
    out.spec = std::move(spec);
    ++kinds;
  };
  if (const Json* json = reader.Value("json")) {
    set(StructuredOutput::Kind::kJsonSchema,
        json->is_string() ? json->get<std::string>() : DumpJson(*json));
  }
  if (auto regex = reader.String("regex", max_bytes)) set(StructuredOutput::Kind::kRegex, *regex);
  if (auto text = reader.String("grammar", max_bytes)) set(StructuredOutput::Kind::kGrammar, *text);
  if (reader.Bool("json_object").value_or(false)) set(StructuredOutput::Kind::kJsonObject, "");
  if (const Json* choices = reader.Value("choice")) {
    set(StructuredOutput::Kind::kChoice, "");
    if (!choices->is_array() || choices->empty() || choices->size() > 1024) {
      reader.Fail("choice", "'choice' wants an array of 1 to 1024 strings");
    }
    for (const Json& choice : *choices) {
      if (!choice.is_string()) {
        reader.Fail("choice", "'choice' wants strings");
        break;
      }
      out.choices.push_back(choice.get<std::string>());
    }
  }
  if (auto v = reader.Bool("disable_any_whitespace")) out.compact_whitespace = *v;
  reader.Unsupported("structural_tag");
  reader.Unsupported("whitespace_pattern");
  reader.Accept({"backend", "disable_fallback", "disable_additional_properties"});
  if (kinds > 1) reader.Fail("structured_outputs", "more than one kind of structured output");
  if (reader.error()) outer.Fail("structured_outputs", reader.error()->message);
}

void ReadResponseFormat(FieldReader& reader, size_t max_bytes, StructuredOutput& out) {
  const Json* format = reader.Value("response_format");
  if (format == nullptr) return;
  FieldReader inner(*format);
  const std::string type = inner.String("type", 64).value_or("");
  if (type == "text") return;
  if (out.kind != StructuredOutput::Kind::kNone) {
    return reader.Fail("response_format", "'response_format' beside another structured output");
  }
  if (type == "json_object") {
    out.kind = StructuredOutput::Kind::kJsonObject;
    return;
  }
  if (type != "json_schema") {
    return reader.Fail("response_format",
                       "'response_format' wants type 'text', 'json_object' or 'json_schema'");
  }
  const Json* wrapper = inner.Value("json_schema");
  const Json* schema = wrapper == nullptr ? nullptr : Find(*wrapper, "schema");
  if (schema == nullptr || !(schema->is_object() || schema->is_boolean())) {
    return reader.Fail("response_format", "'response_format.json_schema.schema' wants an object");
  }
  out.kind = StructuredOutput::Kind::kJsonSchema;
  out.spec = DumpJson(*schema);
  if (out.spec.size() > max_bytes) {
    reader.Fail("response_format", fmt::format("JSON schema of {} bytes, want at most {}",
                                               out.spec.size(), max_bytes));
  }
}

}  // namespace

void ReadStructuredOutput(FieldReader& reader, const RequestLimits& limits, StructuredOutput& out) {
  if (const Json* object = reader.Value("structured_outputs")) {
    ReadStructuredMember(reader, *object, limits.max_schema_bytes, out);
  }
  // vLLM's older spelling: guided_json and so on at the top level.
  Json guided = Json::object();
  for (const char* kind : {"json", "regex", "choice", "grammar", "json_object"}) {
    if (const Json* value = reader.Value(fmt::format("guided_{}", kind))) guided[kind] = *value;
  }
  if (!guided.empty()) {
    if (out.kind != StructuredOutput::Kind::kNone) {
      return reader.Fail("structured_outputs", "'guided_*' fields beside 'structured_outputs'");
    }
    ReadStructuredMember(reader, guided, limits.max_schema_bytes, out);
  }
  ReadResponseFormat(reader, limits.max_schema_bytes, out);
  reader.Accept({"guided_decoding_backend"});
  reader.Unsupported("guided_whitespace_pattern");
}

StreamFields ReadStreamFields(FieldReader& reader) {
  StreamFields fields;
  fields.stream = reader.Bool("stream").value_or(false);
  const Json* options = reader.Value("stream_options");
  if (options == nullptr) return fields;
  if (!fields.stream) {
    reader.Fail("stream_options", "'stream_options' wants 'stream': true");
    return fields;
  }
  FieldReader inner(*options);
  fields.include_usage = inner.Bool("include_usage").value_or(false);
  fields.continuous_usage_stats = inner.Bool("continuous_usage_stats").value_or(false);
  inner.Accept({"include_obfuscation"});
  if (inner.error()) reader.Fail("stream_options", "'stream_options': " + inner.error()->message);
  return fields;
}

void ReadSamplingFields(FieldReader& reader, const RequestLimits& limits,
                        GenerationRequest& request) {
  SamplingParams& params = request.params;
  if (auto v = reader.Integer("n", 1, limits.max_n)) params.n = static_cast<int32_t>(*v);
  if (auto v = reader.Integer("best_of", 1, limits.max_n); v && *v != params.n) {
    reader.Fail("best_of", "'best_of' other than 'n' is not supported by this server");
  }
  ReadSelection(reader, params);
  ReadPenalties(reader, params);
  ReadLength(reader, params);
  if (auto v = reader.Bool("skip_special_tokens")) params.skip_special_tokens = *v;
  if (auto v = reader.Bool("use_beam_search")) params.use_beam_search = *v;
  if (auto v = reader.Number("length_penalty", -100, 100)) params.length_penalty = *v;
  if (auto v = reader.Integer("prompt_logprobs", 0, limits.max_logprobs)) {
    params.prompt_logprobs = static_cast<int32_t>(*v);
  }
  ReadStructuredOutput(reader, limits, params.structured_output);
  if (auto v = reader.Integer("priority", INT32_MIN, INT32_MAX)) {
    request.priority = static_cast<int32_t>(*v);
  }
  if (auto v = reader.String("cache_salt", 256)) request.cache_salt = std::move(*v);
  reader.Accept({"user", "metadata", "store", "service_tier", "safety_identifier", "request_id"});
  reader.Unsupported("spaces_between_special_tokens", {Json(true)});
  for (const char* key : {"early_stopping", "bad_words", "logits_processors", "prompt_embeds",
                          "kv_transfer_params", "truncate_prompt_tokens", "vllm_xargs",
                          "thinking_token_budget"}) {
    reader.Unsupported(key, {Json(false)});
  }
}

}  // namespace octavo::server
