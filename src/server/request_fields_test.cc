// SPDX-License-Identifier: Apache-2.0
// Every request field with values it must not take.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/chat_request.h"
#include "server/completion_request.h"

namespace octavo::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CompletionRequest Read(const Json& body, std::optional<ApiError>& error,
                       std::vector<std::string>* unknown = nullptr) {
  FieldReader reader(body);
  CompletionRequest request = ReadCompletionRequest(reader, RequestLimits{}, SamplingParams{});
  error = reader.error();
  if (unknown != nullptr) *unknown = reader.UnknownFields();
  return request;
}

ChatCompletionRequest ReadChat(const Json& body, std::optional<ApiError>& error,
                               const ChatPolicy& policy = {}) {
  FieldReader reader(body);
  auto request = ReadChatCompletionRequest(reader, RequestLimits{}, policy, SamplingParams{});
  error = reader.error();
  return request;
}

// Values no numeric field takes, as JSON texts; 1e308 and 2^63 exceed every range but seed's.
const char* const kBadNumbers[] = {"\"1\"", "true", "[]", "{}", "[1]", "1e308", "-1e308",
                                   "9223372036854775808", "18446744073709551616"};

TEST(RequestFieldsTest, NumericFieldsRefuseWrongTypesAndExtremes) {
  for (const char* key :
       {"n", "best_of", "max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p",
        "presence_penalty", "frequency_penalty", "repetition_penalty", "logprobs",
        "prompt_logprobs", "seed", "priority", "length_penalty"}) {
    for (const char* bad : kBadNumbers) {
      Json body = {{"prompt", "x"}};
      body[key] = ParseJson(bad).value();
      std::optional<ApiError> error;
      Read(body, error);
      ASSERT_TRUE(error.has_value()) << key << " = " << bad;
      EXPECT_EQ(error->status, 400);
      EXPECT_EQ(error->param, key);
    }
  }
}

TEST(RequestFieldsTest, NumericFieldsRefuseValuesOutsideTheirRange) {
  const std::pair<const char*, const char*> cases[] = {
      {"n", "0"}, {"n", "-1"}, {"n", "1000000000"}, {"n", "2147483648"}, {"n", "1.5"},
      {"max_tokens", "-1"}, {"max_tokens", "-9223372036854775808"}, {"temperature", "-0.1"},
      {"temperature", "101"}, {"top_p", "0"}, {"top_p", "-1"}, {"top_p", "1.01"}, {"top_k", "-2"},
      {"min_p", "-0.5"}, {"min_p", "2"}, {"presence_penalty", "2.5"}, {"frequency_penalty", "-3"},
      {"repetition_penalty", "0"}, {"repetition_penalty", "-1"}, {"logprobs", "-1"},
      {"logprobs", "21"}, {"prompt_logprobs", "2147483648"}, {"min_tokens", "-1"},
      {"priority", "2147483648"}};
  for (const auto& [key, bad] : cases) {
    Json body = {{"prompt", "x"}};
    body[key] = ParseJson(bad).value();
    std::optional<ApiError> error;
    Read(body, error);
    ASSERT_TRUE(error.has_value()) << key << " = " << bad;
    EXPECT_EQ(error->param, key);
    EXPECT_THAT(error->message, HasSubstr(key));
  }
}

TEST(RequestFieldsTest, TakesEveryFieldItKnows) {
  const Json body = ParseJson(R"({"model":"m","prompt":[1,2,3],"n":2,"temperature":0.5,"top_p":0.9,
      "top_k":40,"min_p":0.1,"presence_penalty":1,"frequency_penalty":-1,"repetition_penalty":1.1,
      "seed":-5,"max_tokens":7.0,"min_tokens":2,"stop":["a","b"],"stop_token_ids":[3],
      "ignore_eos":true,"logit_bias":{"5":-100},"logprobs":3,"echo":true,"user":"u",
      "stream":true,"stream_options":{"include_usage":true},"priority":-1,"cache_salt":"s"})")
                        .value();
  std::optional<ApiError> error;
  std::vector<std::string> unknown;
  const CompletionRequest request = Read(body, error, &unknown);
  ASSERT_FALSE(error.has_value()) << error->message;
  EXPECT_TRUE(unknown.empty());
  ASSERT_EQ(request.prompts.size(), 1U);
  const GenerationRequest& prompt = request.prompts[0];
  EXPECT_THAT(prompt.prompt_token_ids, ElementsAre(1, 2, 3));
  EXPECT_EQ(prompt.params.n, 2);
  EXPECT_EQ(prompt.params.max_tokens, 7);
  EXPECT_EQ(prompt.params.seed, static_cast<uint64_t>(-5));
  EXPECT_THAT(prompt.params.stop, ElementsAre("a", "b"));
  EXPECT_EQ(prompt.params.logprobs, 3);
  EXPECT_EQ(prompt.params.prompt_logprobs, 3) << "echo with logprobs scores the prompt";
  EXPECT_THAT(prompt.params.logit_bias, ElementsAre(std::pair(5, -100.0F)));
  EXPECT_EQ(prompt.priority, -1);
  EXPECT_TRUE(request.stream.include_usage);
}

TEST(RequestFieldsTest, NamesUnknownFieldsAndRefusesUnsupportedOnes) {
  std::optional<ApiError> error;
  std::vector<std::string> unknown;
  Read({{"prompt", "x"}, {"temprature", 1}, {"a,\r\nb", 1}}, error, &unknown);
  EXPECT_FALSE(error.has_value());
  EXPECT_EQ(IgnoredFieldsHeader(unknown), "temprature, a???b");
  Read({{"prompt", "x"}, {"suffix", "y"}}, error);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, "unsupported_parameter");
  Read({{"prompt", "x"}, {"suffix", nullptr}}, error);
  EXPECT_FALSE(error.has_value());
}

TEST(RequestFieldsTest, PromptsMayBeTextsOrIdsAndAreBounded) {
  std::optional<ApiError> error;
  EXPECT_EQ(Read({{"prompt", {"a", "b"}}}, error).prompts.size(), 2U);
  EXPECT_EQ(Read(ParseJson(R"({"prompt":[[1],[2,3]]})").value(), error).prompts.size(), 2U);
  for (const char* bad : {R"({})", R"({"prompt":[]})", R"({"prompt":[[]]})", R"({"prompt":[1,"a"]})",
                          R"({"prompt":["a",1]})", R"({"prompt":[-1]})", R"({"prompt":[2147483648]})",
                          R"({"prompt":[1.5]})", R"({"prompt":[1e308]})", R"({"prompt":{}})",
                          R"({"prompt":[18446744073709551615]})"}) {
    Read(ParseJson(bad).value(), error);
    ASSERT_TRUE(error.has_value()) << bad;
    EXPECT_EQ(error->param, "prompt") << bad;
  }
  Json many = {{"prompt", Json::array()}, {"n", 128}};
  for (int i = 0; i < 17; ++i) many["prompt"].push_back("x");
  Read(many, error);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->param, "n");
}

TEST(RequestFieldsTest, BodiesAreBoundedInDepthAndValues) {
  EXPECT_TRUE(ParseBody("").error.has_value());
  EXPECT_TRUE(ParseBody("[1]").error.has_value());
  EXPECT_TRUE(ParseBody("{\"a\":NaN}").error.has_value());
  EXPECT_TRUE(ParseBody("{\"a\":\"\xff\"}").error.has_value());
  EXPECT_TRUE(ParseBody("{\"a\":" + std::string(100000, '[')).error.has_value());
  EXPECT_EQ(ParseBody("{\"a\":[" + std::string(4'000'001, ',')).error->status, 413);
  EXPECT_FALSE(ParseBody("{\"a\":[[[[1]]]]}").error.has_value());
}

TEST(RequestFieldsTest, ChatMessagesBecomePlainTexts) {
  std::optional<ApiError> error;
  const auto request = ReadChat(
      ParseJson(R"({"messages":[{"role":"developer","content":"d"},{"role":"user","content":[
        {"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,
        "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}]})")
          .value(),
      error);
  ASSERT_FALSE(error.has_value()) << error->message;
  EXPECT_EQ(request.chat.messages_json,
            R"([{"role":"system","content":"d"},{"role":"user","content":"a\nb"},)"
            R"({"role":"assistant","content":"","tool_calls":[{"id":"1","type":"function",)"
            R"("function":{"name":"f","arguments":{"x":1}}}]}])");
  EXPECT_FALSE(request.generation.params.max_tokens.has_value());
  EXPECT_FALSE(request.generation.add_special_tokens);
}

TEST(RequestFieldsTest, RefusesBadChats) {
  const char* const bad[] = {
      R"({})", R"({"messages":[]})", R"({"messages":"x"})", R"({"messages":[1]})",
      R"({"messages":[{"content":"x"}]})", R"({"messages":[{"role":"wizard","content":"x"}]})",
      R"({"messages":[{"role":"user","content":5}]})",
      R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://a"}}]}]})",
      R"({"messages":[{"role":"user","content":"x"}],"top_logprobs":3})",
      R"({"messages":[{"role":"user","content":"x"}],"tool_choice":"required"})",
      R"({"messages":[{"role":"user","content":"x"}],"tools":[{}]})",
      R"({"messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f"}}],"tool_choice":{"function":{"name":"g"}}})",
      R"({"messages":[{"role":"user","content":"x"}],"functions":[{}]})",
      R"({"messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":true}})",
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"xml"}})",
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema"}})",
      R"({"messages":[{"role":"user","content":"x"}],"chat_template":"{{ x }}"})"};
  for (const char* text : bad) {
    std::optional<ApiError> error;
    ReadChat(ParseJson(text).value(), error);
    ASSERT_TRUE(error.has_value()) << text;
    EXPECT_EQ(error->status, 400);
  }
}

TEST(RequestFieldsTest, ForcedToolsBecomeSchemas) {
  std::optional<ApiError> error;
  Json body = ParseJson(R"({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function",
      "function":{"name":"f","parameters":{"type":"object","properties":{"a":{}}}}}],
      "tool_choice":{"type":"function","function":{"name":"f"}}})").value();
  auto request = ReadChat(body, error);
  ASSERT_FALSE(error.has_value()) << error->message;
  EXPECT_EQ(request.generation.params.structured_output.spec,
            R"({"type":"object","properties":{"a":{}}})");
  body["tool_choice"] = "required";
  request = ReadChat(body, error);
  EXPECT_THAT(request.generation.params.structured_output.spec, HasSubstr(R"("enum":["f"])"));
  body["response_format"] = {{"type", "json_object"}};
  ReadChat(body, error);
  EXPECT_TRUE(error.has_value());
}

TEST(RequestFieldsTest, StructuredOutputHasOneKind) {
  std::optional<ApiError> error;
  auto request = Read({{"prompt", "x"}, {"guided_choice", {"a", "b"}}}, error);
  ASSERT_FALSE(error.has_value());
  EXPECT_THAT(request.prompts[0].params.structured_output.choices, ElementsAre("a", "b"));
  Read({{"prompt", "x"}, {"guided_regex", "a+"}, {"guided_json", Json::object()}}, error);
  EXPECT_TRUE(error.has_value());
  Read({{"prompt", "x"}, {"structured_outputs", {{"regex", std::string(300 << 10, 'a')}}}}, error);
  EXPECT_TRUE(error.has_value());
  Read({{"prompt", "x"}, {"structured_outputs", {{"choice", Json::array()}}}}, error);
  EXPECT_TRUE(error.has_value());
}

}  // namespace
}  // namespace octavo::server
