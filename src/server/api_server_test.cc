// SPDX-License-Identifier: Apache-2.0
// Routes over a fake engine: replies, streams, errors and aborts, without sockets.
#include "server/api_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>

#include "server/testing/fake_engine.h"

namespace octavo::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A reply as a client would have it.
struct Received {
  int status = 0;
  std::vector<HttpHeader> headers;
  std::string body;
  Json json() const { return ParseJson(body).value(); }
};

class Client {
 public:
  explicit Client(FakeEngine::Options fake = {}, ApiOptions options = {}) : engine_(std::move(fake)) {
    options.version = "1.2.3";
    if (options.served_model_names.empty()) options.served_model_names = {"fake", "alias"};
    api_ = ApiServer::Create(std::move(options), [](std::function<void()> task) { task(); }).value();
    EXPECT_TRUE(api_->SetEngine(engine_).ok());
  }
  ~Client() { engine_.Shutdown(); }

  std::shared_ptr<ResponseChannel> Start(std::string method, std::string path, std::string body) {
    auto channel = std::make_shared<ResponseChannel>(1 << 20, [this] {
      const std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
    HttpRequest request;
    request.id = "r1";
    request.method = std::move(method);
    request.path = std::move(path);
    request.body = std::move(body);
    api_->Handle(std::move(request), channel);
    return channel;
  }

  Received Wait(ResponseChannel& channel) {
    Received received;
    std::unique_lock lock(mutex_);
    for (;;) {
      ResponseChannel::Pending pending = channel.Take();
      if (pending.head) {
        received.status = pending.head->status;
        received.headers = pending.head->headers;
        received.body = pending.head->body;
      }
      received.body += pending.stream_bytes;
      if (pending.finished) return received;
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
  }

  Received Post(std::string path, const Json& body) {
    return Wait(*Start("POST", std::move(path), DumpJson(body)));
  }
  Received Get(std::string path) { return Wait(*Start("GET", std::move(path), "")); }

  FakeEngine& engine() { return engine_; }
  ApiServer& api() { return *api_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  FakeEngine engine_;
  std::unique_ptr<ApiServer> api_;
};

// The JSON of each "data:" event but [DONE].
std::vector<Json> Events(const std::string& body) {
  std::vector<Json> events;
  size_t at = 0;
  while ((at = body.find("data: ", at)) != std::string::npos) {
    const size_t end = body.find("\n\n", at);
    const std::string data = body.substr(at + 6, end - at - 6);
    if (data != "[DONE]") events.push_back(ParseJson(data).value());
    at = end;
  }
  return events;
}

Json Chat(const char* text) {
  return {{"model", "fake"},
          {"messages", Json::array({{{"role", "user"}, {"content", text}}})}};
}

FakeEngine::Options Script(std::string text) {
  FakeEngine::Options fake;
  fake.script = [text](const GenerationRequest&) { return text; };
  return fake;
}

TEST(ApiServerTest, CompletesBatchesWithSeveralChoices) {
  Client client;
  const Received reply = client.Post(
      "/v1/completions", {{"model", "alias"}, {"prompt", {"ab", "xyz"}}, {"n", 2}, {"max_tokens", 2}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json json = reply.json();
  ASSERT_EQ(json["choices"].size(), 4U);
  EXPECT_EQ(json["choices"][0]["text"], "ba");
  EXPECT_EQ(json["choices"][3]["text"], "zy");
  EXPECT_EQ(json["choices"][3]["index"], 3);
  EXPECT_EQ(json["choices"][3]["finish_reason"], "length");
  EXPECT_EQ(json["model"], "alias");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(json["usage"]["completion_tokens"], 8);
}

TEST(ApiServerTest, EchoesThePromptWithItsLogprobs) {
  Client client;
  const Json choice =
      client.Post("/v1/completions",
                  {{"prompt", {97, 98}}, {"echo", true}, {"logprobs", 2}, {"max_tokens", 1}})
          .json()["choices"][0];
  EXPECT_EQ(choice["text"], "abb");
  EXPECT_EQ(DumpJson(choice["logprobs"]["tokens"]), R"(["a","b","b"])");
  EXPECT_TRUE(choice["logprobs"]["token_logprobs"][0].is_null());
  EXPECT_EQ(choice["logprobs"]["token_logprobs"][1], -0.5);
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][1]["b"], -0.5);
  EXPECT_EQ(DumpJson(choice["logprobs"]["text_offset"]), "[0,1,2]");
}

TEST(ApiServerTest, StreamsTheSameTextAsItReturnsWhole) {
  Client client;
  Json body = {{"prompt", "hello"}, {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  const Received stream = client.Post("/v1/completions", body);
  EXPECT_THAT(stream.body, ::testing::EndsWith("data: [DONE]\n\n"));
  std::string text;
  const std::vector<Json> events = Events(stream.body);
  for (const Json& event : events) {
    for (const Json& choice : event["choices"]) text += choice["text"].get<std::string>();
  }
  EXPECT_EQ(text, "olleh");
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 5);
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
}

TEST(ApiServerTest, AnswersChats) {
  Client client(Script("Hi"));
  const Json json = client.Post("/v1/chat/completions", Chat("x")).json();
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Hi");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
}

TEST(ApiServerTest, StreamsChatsWithLogprobs) {
  Client client(Script("Hi"));
  Json body = Chat("x");
  body.update({{"stream", true}, {"logprobs", true}, {"top_logprobs", 1}});
  const auto events = Events(client.Post("/v1/chat/completions", body).body);
  ASSERT_GE(events.size(), 4U);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[1]["choices"][0]["delta"]["content"], "H");
  EXPECT_EQ(events[1]["choices"][0]["logprobs"]["content"][0]["token"], "H");
  EXPECT_EQ(events[1]["choices"][0]["logprobs"]["content"][0]["bytes"][0], 72);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "stop");
}

Json WithTool(Json body) {
  body["tools"] = ParseJson(R"([{"type":"function","function":{"name":"f","parameters":{}}}])").value();
  return body;
}

TEST(ApiServerTest, ReturnsToolCalls) {
  Client client(Script("<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call>"));
  const Json choice = client.Post("/v1/chat/completions", WithTool(Chat("x"))).json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");

  Json body = WithTool(Chat("x"));
  body["stream"] = true;
  std::vector<Json> calls;
  for (const Json& event : Events(client.Post("/v1/chat/completions", body).body)) {
    const Json& delta = event["choices"][0]["delta"];
    EXPECT_FALSE(delta.contains("content") && delta["content"] != "") << DumpJson(delta);
    if (delta.contains("tool_calls")) calls.push_back(delta["tool_calls"][0]);
  }
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(calls[0]["index"], 0);
  EXPECT_EQ(calls[0]["id"], choice["message"]["tool_calls"][0]["id"]);
}

TEST(ApiServerTest, WithoutToolsMarksAreText) {
  Client client(Script("<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>"));
  const Json choice = client.Post("/v1/chat/completions", Chat("x")).json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_THAT(choice["message"]["content"].get<std::string>(), HasSubstr("<tool_call>"));
}

TEST(ApiServerTest, NamedToolChoiceReturnsTheArguments) {
  Client client(Script("{\"a\":2}"));
  Json body = WithTool(Chat("x"));
  body["tool_choice"] = {{"type", "function"}, {"function", {{"name", "f"}}}};
  const Json message =
      client.Post("/v1/chat/completions", body).json()["choices"][0]["message"];
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{\"a\":2}");
}

TEST(ApiServerTest, EmbedsAsFloatsAndBase64) {
  Client client;
  Json json = client.Post("/v1/embeddings", {{"input", {"a", "bc"}}}).json();
  EXPECT_EQ(DumpJson(json["data"][1]["embedding"]), "[0.5,0.5,0.5,2.0]");
  json = client.Post("/v1/embeddings", {{"input", "a"}, {"encoding_format", "base64"}}).json();
  EXPECT_EQ(json["data"][0]["embedding"], "AAAAPwAAAD8AAAA/AACAPw==");
  EXPECT_EQ(client.Post("/v1/embeddings", {{"input", "a"}, {"dimensions", 3}}).status, 400);
}

TEST(ApiServerTest, TokenizesBothWays) {
  Client client;
  const Json json = client.Post("/tokenize", {{"prompt", "ab"}, {"return_token_strs", true}}).json();
  EXPECT_EQ(DumpJson(json["tokens"]), "[97,98]");
  EXPECT_EQ(json["count"], 2);
  EXPECT_EQ(json["token_strs"][1], "b");
  EXPECT_EQ(client.Post("/detokenize", {{"tokens", {97, 98}}}).json()["prompt"], "ab");
  EXPECT_EQ(client.Post("/detokenize", {{"tokens", {70000}}}).status, 400);
  EXPECT_GT(client.Post("/tokenize", Chat("hey")).json()["count"].get<int>(), 3);
}

TEST(ApiServerTest, ErrorsHaveTheFormClientsExpect) {
  Client client;
  const Received wrong = client.Post("/v1/completions", {{"prompt", "x"}, {"n", 0}});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json()["error"]["param"], "n");
  EXPECT_EQ(wrong.json()["error"]["type"], "invalid_request_error");
  const Received model = client.Post("/v1/completions", {{"prompt", "x"}, {"model", "gpt-4"}});
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(model.json()["error"]["code"], "model_not_found");
  EXPECT_EQ(client.Get("/v1/completions").status, 405);
  EXPECT_EQ(client.Get("/v1/nothing").status, 404);
  EXPECT_EQ(client.Get("/v1/models/nothing").status, 404);
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", std::string(5000, 'x')}}).status, 400);
}

TEST(ApiServerTest, AFullQueueIs429) {
  FakeEngine::Options fake = Script(std::string(1000, 'x'));
  fake.tick = std::chrono::milliseconds(5);
  fake.max_num_seqs = 1;
  fake.max_num_queued_reqs = 1;
  Client client(fake);
  const auto running =
      client.Start("POST", "/v1/completions", R"({"prompt":["a","b"],"max_tokens":1000})");
  const Received refused = client.Post("/v1/completions", {{"prompt", "c"}});
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.json()["error"]["code"], "queue_full");
  bool retry_after = false;
  for (const HttpHeader& header : refused.headers) retry_after |= header.name == "Retry-After";
  EXPECT_TRUE(retry_after);
  running->Close();
}

TEST(ApiServerTest, ABatchThatDoesNotFitLeavesNothingBehind) {
  FakeEngine::Options fake = Script(std::string(1000, 'x'));
  fake.tick = std::chrono::milliseconds(1);
  fake.max_num_seqs = 1;
  fake.max_num_queued_reqs = 1;
  Client client(fake);
  EXPECT_EQ(client.Post("/v1/completions", {{"prompt", {"a", "b", "c"}}, {"max_tokens", 900}}).status,
            429);
  for (int i = 0; i < 1000 && client.engine().num_requests() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(client.engine().num_requests(), 0U);
}

TEST(ApiServerTest, AClientThatLeavesAbortsWithAndWithoutStreaming) {
  for (const bool stream : {false, true}) {
    FakeEngine::Options fake = Script(std::string(4000, 'x'));
    fake.tick = std::chrono::milliseconds(1);
    Client client(fake);
    Json body = {{"prompt", {"a", "b"}}, {"max_tokens", 4000}, {"stream", stream}};
    const auto channel = client.Start("POST", "/v1/completions", DumpJson(body));
    channel->Close();
    const auto busy = [&] {
      return client.api().server_load() > 0 || client.engine().num_requests() > 0;
    };
    for (int i = 0; i < 1000 && busy(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(client.engine().num_requests(), 0U);
    EXPECT_GE(client.engine().num_aborts(), 2U) << "each prompt's request, at least once";
    EXPECT_EQ(client.api().server_load(), 0);
  }
}

TEST(ApiServerTest, SaysItLoadsUntilThereIsAnEngine) {
  ApiOptions options;
  options.served_model_names = {"fake"};
  auto api = ApiServer::Create(options, [](std::function<void()> task) { task(); }).value();
  HttpRequest head;
  head.method = "POST";
  head.path = "/v1/completions";
  ASSERT_TRUE(api->Gate(head).has_value());
  EXPECT_EQ(api->Gate(head)->status, 503);
  head.path = "/health";
  EXPECT_FALSE(api->Gate(head).has_value()) << "health answers for itself";
  api->BeginDrain();
  head.path = "/v1/completions";
  EXPECT_EQ(api->Gate(head)->status, 503);
}

TEST(ApiServerTest, ReportsMetricsUnderVllmsNames) {
  Client client;
  client.Post("/v1/completions", {{"prompt", "ab"}});
  client.Get("/v1/secret-path-1");
  const std::string text = client.Get("/metrics").body;
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_running{model_name=\"fake\",engine=\"0\"} 0"));
  EXPECT_THAT(text, HasSubstr("vllm:generation_tokens_total{model_name=\"fake\",engine=\"0\"} 2"));
  EXPECT_THAT(text, HasSubstr("le=\"+Inf\"} 6"));
  EXPECT_THAT(text, HasSubstr("handler=\"/v1/completions\",status=\"200\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("secret-path")));
}

TEST(ApiServerTest, DescribesItself) {
  Client client;
  EXPECT_EQ(client.Get("/version").json()["version"], "1.2.3");
  EXPECT_EQ(client.Get("/v1/models").json()["data"][1]["id"], "alias");
  EXPECT_EQ(client.Get("/octavo/status").json()["state"], "ready");
  EXPECT_EQ(client.Get("/octavo/layers").json()["layers"][0]["count"], 2);
  EXPECT_EQ(client.Get("/tokenizer_info").json()["eos_tokens"][0]["id"], 256);
  EXPECT_THAT(client.Get("/").body, HasSubstr("<!doctype html>"));
}

TEST(ApiServerTest, OverridesGenerationDefaults) {
  ApiOptions options;
  options.override_generation_config = {{"temperature", 0.25}};
  Client client({}, options);
  EXPECT_EQ(client.Get("/octavo/status").json()["defaults"]["temperature"], 0.25);
  options.override_generation_config = {{"temprature", 0.25}};
  options.served_model_names = {"fake"};
  auto api = ApiServer::Create(options, [](std::function<void()> task) { task(); }).value();
  EXPECT_FALSE(api->SetEngine(client.engine()).ok());
}

}  // namespace
}  // namespace octavo::server
