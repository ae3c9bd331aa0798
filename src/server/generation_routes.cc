// SPDX-License-Identifier: Apache-2.0
// Routes that run the model: completions, chats and embeddings.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <bit>
#include <cstring>
#include <utility>

#include "server/api_call.h"

namespace octavo::server {
namespace {

// Fields nobody read are named in a header rather than silently dropped.
void NoteIgnored(const FieldReader& reader, std::vector<HttpHeader>& headers) {
  std::string names = IgnoredFieldsHeader(reader.UnknownFields());
  if (!names.empty()) headers.push_back({"X-Octavo-Ignored-Fields", std::move(names)});
}

std::string Base64Floats(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  const size_t size = values.size() * sizeof(float);
  std::string out((size + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(values.data()),
                                     static_cast<int>(size));
  out.resize(static_cast<size_t>(length));
  return out;
}

// Replies of /v1/embeddings.
class EmbeddingFormatter : public ReplyFormatter {
 public:
  EmbeddingFormatter(std::string model, size_t count, bool base64)
      : model_(std::move(model)), vectors_(count), base64_(base64) {}

  void Begin(std::string& /*events*/) override {}
  void Stream(size_t, RequestOutput, const Usage&, std::string&) override {}
  Json UsageChunk(const Usage& usage) override { return UsageJson(usage); }

  void Collect(size_t prompt, RequestOutput output) override {
    if (!output.embedding.empty()) vectors_[prompt] = std::move(output.embedding);
  }

  Json Result(const Usage& usage) override {
    Json reply = {{"object", "list"}, {"data", Json::array()}, {"model", model_}};
    for (size_t i = 0; i < vectors_.size(); ++i) {
      Json embedding = base64_ ? Json(Base64Floats(vectors_[i])) : Json(vectors_[i]);
      reply["data"].push_back(
          {{"object", "embedding"}, {"index", i}, {"embedding", std::move(embedding)}});
    }
    reply["usage"] = {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}};
    return reply;
  }

 private:
  const std::string model_;
  std::vector<std::vector<float>> vectors_;
  const bool base64_;
};

}  // namespace

// Fills in what echo and return_token_ids show of the prompts.
Status ApiServer::PrepareEcho(const CompletionRequest& request, CompletionFormat& format) const {
  const LlmEngine& engine = *engine_;
  for (const GenerationRequest& prompt : request.prompts) {
    std::vector<int32_t> ids = prompt.prompt_token_ids;
    std::string text = prompt.prompt;
    if (ids.empty()) {
      OCTAVO_ASSIGN_OR_RETURN(ids, engine.Encode(text, prompt.add_special_tokens));
    } else {
      OCTAVO_ASSIGN_OR_RETURN(text, engine.Decode(ids, prompt.params.skip_special_tokens));
    }
    format.first_token_bytes.push_back(ids.empty() ? std::string() : engine.TokenBytes(ids[0]));
    format.prompt_texts.push_back(SanitizeUtf8(text));
    format.prompt_token_ids.push_back(std::move(ids));
  }
  return Status::Ok();
}

void ApiServer::Completions(Call& call) {
  const ParsedBody body = ParseBody(call.request.body);
  if (body.error) return ReplyError(call, *body.error);
  FieldReader reader(body.json);
  CompletionRequest request = ReadCompletionRequest(reader, options_.limits, defaults_);
  if (reader.error()) return ReplyError(call, *reader.error());
  if (auto error = CheckModel(request.model)) return ReplyError(call, *error);
  NoteIgnored(reader, call.headers);

  const SamplingParams& params = request.prompts[0].params;
  CompletionFormat format;
  format.id = "cmpl-" + call.request.id;
  format.model = request.model.empty() ? options_.served_model_names[0] : request.model;
  format.created = UnixSeconds();
  format.n = params.n;
  format.echo = request.echo;
  format.logprobs = params.logprobs.has_value();
  format.prompt_logprobs_asked = body.json.contains("prompt_logprobs");
  format.tokens_as_ids = request.tokens_as_ids;
  format.return_token_ids = request.return_token_ids;
  format.continuous_usage_stats = request.stream.continuous_usage_stats;
  if (request.echo || request.return_token_ids) {
    const Status prepared = PrepareEcho(request, format);
    if (!prepared.ok()) return ReplyError(call, ErrorFromStatus(prepared));
  }
  Generate(call, std::move(request.prompts), request.stream,
           MakeCompletionFormatter(std::move(format)));
}

OutputParser::Options ApiServer::ParserOptions(const ChatCompletionRequest& request,
                                               std::string_view prompt) const {
  OutputParser::Options options;
  const bool tools = request.tool_choice == ToolChoice::kAuto;
  options.tools = tools ? policy_.tool_format : ToolFormat::kNone;
  // A format that must be obeyed leaves no room for thoughts.
  const bool free_text =
      request.generation.params.structured_output.kind == StructuredOutput::Kind::kNone;
  options.split_reasoning = split_reasoning_ && free_text;
  const size_t last = prompt.find_last_not_of(" \t\r\n");
  if (last != std::string_view::npos) prompt = prompt.substr(0, last + 1);
  options.starts_in_reasoning = prompt.ends_with("<think>");
  return options;
}

void ApiServer::ChatCompletions(Call& call) {
  const ParsedBody body = ParseBody(call.request.body);
  if (body.error) return ReplyError(call, *body.error);
  FieldReader reader(body.json);
  ChatCompletionRequest request =
      ReadChatCompletionRequest(reader, options_.limits, policy_, defaults_);
  if (reader.error()) return ReplyError(call, *reader.error());
  if (auto error = CheckModel(request.model)) return ReplyError(call, *error);
  NoteIgnored(reader, call.headers);
  if (request.tool_choice == ToolChoice::kAuto && policy_.tool_format == ToolFormat::kNone) {
    call.headers.push_back({"X-Octavo-Warning",
                            "no tool call format known for this model (--tool-call-parser)"});
  }
  auto prompt = call.engine->RenderChat(request.chat);
  if (!prompt.ok()) {
    ApiError error = ErrorFromStatus(prompt.status());
    // Whatever a template refuses, it refuses because of this conversation.
    if (error.status >= 404) error.status = 400;
    error.param = "messages";
    return ReplyError(call, error);
  }

  const SamplingParams& params = request.generation.params;
  ChatFormat format;
  format.id = "chatcmpl-" + call.request.id;
  format.model = request.model.empty() ? options_.served_model_names[0] : request.model;
  format.created = UnixSeconds();
  format.n = params.n;
  format.logprobs = params.logprobs.has_value();
  format.tokens_as_ids = request.tokens_as_ids;
  format.return_token_ids = request.return_token_ids;
  format.continuous_usage_stats = request.stream.continuous_usage_stats;
  format.include_reasoning = request.include_reasoning;
  format.prompt_logprobs_asked = params.prompt_logprobs.has_value();
  format.echo_text = request.echo_text;
  format.forced_calls = request.tool_choice == ToolChoice::kRequired;
  if (request.tool_choice == ToolChoice::kNamed) format.forced_tool = request.tool_name;
  format.one_call = !request.parallel_tool_calls;
  format.parser = ParserOptions(request, *prompt);

  GenerationRequest generation = std::move(request.generation);
  generation.prompt = std::move(*prompt);
  // These formats' marks are special tokens and must stay visible to the parser.
  if (format.parser.tools == ToolFormat::kMistral || format.parser.tools == ToolFormat::kLlama3) {
    generation.params.skip_special_tokens = false;
  }
  std::vector<GenerationRequest> requests;
  requests.push_back(std::move(generation));
  Generate(call, std::move(requests), request.stream, MakeChatFormatter(std::move(format)));
}

void ApiServer::Embeddings(Call& call) {
  const ParsedBody body = ParseBody(call.request.body);
  if (body.error) return ReplyError(call, *body.error);
  FieldReader reader(body.json);
  const std::string model = reader.String("model", 1024).value_or("");
  GenerationRequest prototype;
  prototype.pooling = options_.pooling;
  prototype.params.max_tokens = 0;
  if (auto v = reader.Bool("add_special_tokens")) prototype.add_special_tokens = *v;
  if (auto v = reader.Bool("normalize")) prototype.normalize_embedding = *v;
  if (auto v = reader.Integer("priority", INT32_MIN, INT32_MAX)) {
    prototype.priority = static_cast<int32_t>(*v);
  }
  std::vector<GenerationRequest> prompts;
  ReadPrompts(reader, "input", options_.limits.max_prompts, prototype, prompts);
  const std::string encoding = reader.String("encoding_format", 16).value_or("float");
  if (encoding != "float" && encoding != "base64") {
    reader.Fail("encoding_format", "'encoding_format' wants 'float' or 'base64'");
  }
  const int64_t size = call.engine->model_info().hidden_size;
  if (auto v = reader.Integer("dimensions", 1, INT32_MAX); v && *v != size) {
    reader.Fail("dimensions", fmt::format("'dimensions' is {}, this model has {}", *v, size));
  }
  reader.Accept({"user"});
  reader.Unsupported("truncate_prompt_tokens");
  if (reader.error()) return ReplyError(call, *reader.error());
  if (auto error = CheckModel(model)) return ReplyError(call, *error);
  NoteIgnored(reader, call.headers);
  auto formatter = std::make_unique<EmbeddingFormatter>(
      model.empty() ? options_.served_model_names[0] : model, prompts.size(), encoding == "base64");
  Generate(call, std::move(prompts), StreamFields{}, std::move(formatter));
}

}  // namespace octavo::server
