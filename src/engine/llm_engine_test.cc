// SPDX-License-Identifier: Apache-2.0
// The whole engine on a tiny random model: promises that hold for any model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <regex>
#include <thread>

#include "engine/tiny_model.h"
#include "octavo/llm.h"

namespace octavo {
namespace {

using testing::TinyModel;

std::unique_ptr<LLM> MakeLlm(EngineOptions options) {
  options.check_integrity = true;
  if (options.num_kv_blocks == 0) options.num_kv_blocks = 400;
  auto llm = LLM::Create(options);
  EXPECT_TRUE(llm.ok()) << llm.status().ToString();
  return llm.ok() ? std::move(llm).value() : nullptr;
}

// Greedy and seeded requests of many lengths; half of them share a beginning.
std::vector<GenerationRequest> MixedRequests(size_t count) {
  const std::string shared =
      "Once upon a time there was a machine that answered many questions at once, and each answer ";
  std::vector<GenerationRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    GenerationRequest& r = requests[i];
    r.prompt = (i % 2 == 0 ? shared : std::string()) +
               std::string(1 + i * 5 % 60, static_cast<char>('a' + i % 23));
    r.params.max_tokens = 6 + static_cast<int64_t>(i * 7 % 20);
    r.params.temperature = i % 3 == 0 ? 0 : 0.9;
    r.params.seed = 1000 + i;
    r.params.logprobs = 2;
    r.params.ignore_eos = i % 4 == 0;
    if (i % 5 == 0) r.params.top_p = 0.8;
    if (i % 7 == 0) r.params.repetition_penalty = 1.2;
    if (i % 6 == 1) r.params.n = 3;
    if (i % 8 == 3) r.params.prompt_logprobs = 1;
  }
  return requests;
}

void ExpectSameScores(const PositionLogprobs& a, const PositionLogprobs& b) {
  EXPECT_EQ(a.token.token_id, b.token.token_id);
  EXPECT_EQ(a.token.logprob, b.token.logprob);  // bits, not about
  EXPECT_EQ(a.token.rank, b.token.rank);
  ASSERT_EQ(a.top.size(), b.top.size());
  for (size_t i = 0; i < a.top.size(); ++i) EXPECT_EQ(a.top[i].logprob, b.top[i].logprob);
}

void ExpectSameResults(const std::vector<GenerationResult>& got,
                       const std::vector<GenerationResult>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t r = 0; r < got.size(); ++r) {
    SCOPED_TRACE("request " + std::to_string(r));
    ASSERT_TRUE(got[r].status.ok()) << got[r].status.ToString();
    ASSERT_EQ(got[r].choices.size(), want[r].choices.size());
    for (size_t c = 0; c < got[r].choices.size(); ++c) {
      const CompletionOutput& a = got[r].choices[c];
      const CompletionOutput& b = want[r].choices[c];
      EXPECT_EQ(a.token_ids, b.token_ids);
      EXPECT_EQ(a.text, b.text);
      EXPECT_EQ(a.finish_reason, b.finish_reason);
      ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
      for (size_t i = 0; i < a.logprobs.size(); ++i) ExpectSameScores(a.logprobs[i], b.logprobs[i]);
    }
    ASSERT_EQ(got[r].prompt_logprobs.size(), want[r].prompt_logprobs.size());
    for (size_t i = 1; i < got[r].prompt_logprobs.size(); ++i) {
      ExpectSameScores(*got[r].prompt_logprobs[i], *want[r].prompt_logprobs[i]);
    }
  }
}

std::vector<GenerationResult> RunOneByOne(LLM& llm, std::vector<GenerationRequest> requests) {
  std::vector<GenerationResult> results;
  for (GenerationRequest& request : requests) {
    std::vector<GenerationRequest> one;
    one.push_back(std::move(request));
    results.push_back(std::move(llm.Generate(std::move(one)).front()));
  }
  return results;
}

// Promise 2: the same bits alone and in any company, for every KV type.
class SameBitsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(SameBitsTest, AloneAndInAnyCompany) {
  const TinyModel model(std::string(GetParam()) == "bfloat16" ? 0 : 40);  // both kinds of attention
  EngineOptions base;
  base.model = model.path();
  base.kv_cache_dtype = GetParam();
  base.num_threads = 1;
  base.enable_prefix_caching = false;
  const auto requests = MixedRequests(20);
  const auto want = RunOneByOne(*MakeLlm(base), requests);

  const auto expect_same = [&](const char* what, const EngineOptions& options) {
    SCOPED_TRACE(what);
    auto llm = MakeLlm(options);
    ExpectSameResults(llm->Generate(requests), want);
    const EngineStats stats = llm->engine().stats();
    EXPECT_EQ(stats.kv_blocks_used, 0);
    return stats;
  };
  EngineOptions options = base;
  expect_same("concurrent", options);
  options.num_threads = 2;
  expect_same("two threads", options);
  options.num_threads = 1;
  options.max_num_batched_tokens = 16;
  expect_same("budget 16", options);
  options.max_num_batched_tokens = 256;
  options.enable_prefix_caching = true;
  EXPECT_GT(expect_same("budget 256, prefix cache", options).prefix_cache_hits, 0u);
  options.target_step_ms = 0;  // as many prompts at once as fit, whatever the machine's pace
  options.max_num_batched_tokens = 64;
  options.num_kv_blocks = 36;
  options.max_model_len = 200;
  // Requests arrive while the engine runs: on a busy machine the first may be gone before the last come.
  uint64_t preemptions = 0;
  for (int run = 0; run < 20 && preemptions == 0; ++run) {
    preemptions = static_cast<uint64_t>(expect_same("forced preemption", options).num_preemptions);
  }
  EXPECT_GT(preemptions, 0u);
  options.num_speculative_tokens = 4;
  options.prompt_lookup_min = 1;
  EXPECT_GT(expect_same("speculation", options).draft_tokens, 0u);
}

INSTANTIATE_TEST_SUITE_P(KvTypes, SameBitsTest,
                         ::testing::Values("float32", "bfloat16", "fp8_e4m3", "fp8_e5m2", "int8",
                                           "int4"),
                         [](const auto& info) { return std::string(info.param); });

class LlmEngineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { model_ = new TinyModel(); }
  static void TearDownTestSuite() { delete model_; }

  static EngineOptions Options() {
    EngineOptions options;
    options.model = model_->path();
    options.num_threads = 1;
    return options;
  }

  static GenerationRequest Request(const std::string& prompt, int64_t max_tokens) {
    GenerationRequest request;
    request.prompt = prompt;
    request.params.temperature = 0;
    request.params.max_tokens = max_tokens;
    request.params.ignore_eos = true;
    return request;
  }

  static GenerationResult Run(LLM& llm, GenerationRequest request) {
    std::vector<GenerationRequest> one;
    one.push_back(std::move(request));
    return std::move(llm.Generate(std::move(one)).front());
  }

  static TinyModel* model_;
};
TinyModel* LlmEngineTest::model_ = nullptr;

TEST_F(LlmEngineTest, StreamedTextEqualsDecodedTokens) {
  auto llm = MakeLlm(Options());
  auto request = Request("stream", 100);
  request.params.temperature = 1;
  request.params.seed = 3;
  const auto result = Run(*llm, std::move(request));
  ASSERT_EQ(result.choices.size(), 1u);
  EXPECT_EQ(result.choices[0].token_ids.size(), 100u);
  EXPECT_EQ(result.choices[0].finish_reason, FinishReason::kLength);
  EXPECT_EQ(result.choices[0].text, *llm->engine().Decode(result.choices[0].token_ids));
  EXPECT_EQ(result.usage.prompt_tokens, 6);
  EXPECT_EQ(result.usage.completion_tokens, 100);
  EXPECT_GT(result.timings.first_token_s, 0);
  EXPECT_GE(result.timings.e2e_s + 1e-6, result.timings.first_token_s + result.timings.decode_s);
}

TEST_F(LlmEngineTest, StopStringEndsTheChoiceAtTheSameTokenInAnyCompany) {
  auto llm = MakeLlm(Options());
  auto probe = Request("stop", 60);
  probe.params.temperature = 1;
  probe.params.seed = 5;
  probe.params.allowed_token_ids = std::vector<int32_t>{'a', 'b', 'c', 'd'};
  const std::string text = Run(*llm, probe).choices[0].text;
  ASSERT_EQ(text.size(), 60u);
  const std::string stop = text.substr(20, 3);
  const size_t at = text.find(stop);

  auto request = probe;
  request.params.stop = {"never", stop};
  const auto cut = Run(*llm, request);
  EXPECT_EQ(cut.choices[0].text, text.substr(0, at));
  EXPECT_EQ(cut.choices[0].finish_reason, FinishReason::kStop);
  EXPECT_EQ(cut.choices[0].stop_string, stop);
  EXPECT_EQ(cut.choices[0].token_ids.size(), at + 3);
  EXPECT_EQ(cut.usage.completion_tokens, static_cast<int64_t>(at + 3));
  request.params.include_stop_str_in_output = true;
  EXPECT_EQ(Run(*llm, request).choices[0].text, text.substr(0, at + 3));
  request.params.min_tokens = static_cast<int64_t>(at) + 10;
  EXPECT_GT(Run(*llm, request).choices[0].token_ids.size(), at + 10);
}

TEST_F(LlmEngineTest, StopTokenIsCountedButNotShown) {
  auto llm = MakeLlm(Options());
  auto request = Request("x", 50);
  request.params.logit_bias = {{'q', 100.0f}};
  request.params.stop_token_ids = {'q'};
  const auto result = Run(*llm, request);
  EXPECT_EQ(result.choices[0].token_ids, std::vector<int32_t>{'q'});
  EXPECT_EQ(result.choices[0].text, "");
  EXPECT_EQ(result.choices[0].stop_token_id, 'q');
  request.params.include_stop_str_in_output = true;
  EXPECT_EQ(Run(*llm, request).choices[0].text, "q");
  request.params.min_tokens = 4;
  EXPECT_GE(Run(*llm, request).choices[0].token_ids.size(), 5u);
}

TEST_F(LlmEngineTest, AbortEndsARequestWhereverItIs) {
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  auto llm = MakeLlm(options);
  LlmEngine& engine = llm->engine();
  std::promise<RequestOutput> running_end;
  std::promise<RequestOutput> queued_end;
  std::promise<void> first_token;
  std::promise<void> aborted;
  std::atomic<bool> started = false;
  const auto running = engine.Submit(Request("running", 400), [&](RequestOutput output) {
    if (!started.exchange(true)) {
      first_token.set_value();
      aborted.get_future().wait();  // else a fast machine is done before the test says stop
    }
    if (output.finished) running_end.set_value(std::move(output));
  });
  const auto queued = engine.Submit(Request("queued", 400), [&](RequestOutput output) {
    if (output.finished) queued_end.set_value(std::move(output));
  });
  ASSERT_TRUE(running.ok() && queued.ok());
  first_token.get_future().wait();
  engine.Abort(*queued);
  engine.Abort(*running);
  engine.Abort(12345);
  aborted.set_value();
  for (auto* end : {&running_end, &queued_end}) {
    const RequestOutput output = end->get_future().get();
    ASSERT_EQ(output.choices.size(), 1u);
    EXPECT_EQ(output.choices[0].finish_reason, FinishReason::kAbort);
    EXPECT_TRUE(output.status.ok());
  }
  EXPECT_TRUE(engine.Drain(10));
  EXPECT_EQ(engine.stats().requests_abort, 2u);
}

TEST_F(LlmEngineTest, FullQueueRefusesAndDrainingRefuses) {
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  options.max_num_queued_reqs = 1;
  auto llm = MakeLlm(options);
  LlmEngine& engine = llm->engine();
  std::atomic<int> finished = 0;
  const auto count = [&](const RequestOutput& output) { finished += output.finished ? 1 : 0; };
  ASSERT_TRUE(engine.Submit(Request("a", 300), count).ok());
  ASSERT_TRUE(engine.Submit(Request("b", 300), count).ok());
  const auto refused = engine.Submit(Request("c", 1), count);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_FALSE(engine.Drain(0));
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(engine.Submit(Request("d", 1), count).status().code(), StatusCode::kFailedPrecondition);
}

TEST_F(LlmEngineTest, CallbacksMaySubmit) {
  auto llm = MakeLlm(Options());
  LlmEngine& engine = llm->engine();
  std::promise<std::vector<int32_t>> second;
  ASSERT_TRUE(engine
                  .Submit(Request("first", 3),
                          [&](const RequestOutput& output) {
                            if (!output.finished) return;
                            auto id = engine.Submit(Request("second", 2), [&](RequestOutput inner) {
                              if (inner.finished)
                                second.set_value(std::move(inner.choices.front().token_ids));
                            });
                            EXPECT_TRUE(id.ok());
                          })
                  .ok());
  EXPECT_EQ(second.get_future().get().size(), 1u);  // the last delta
}

TEST_F(LlmEngineTest, RefusesWhatMakesNoSense) {
  auto llm = MakeLlm(Options());
  const auto message = [&](auto change) {
    auto request = Request("hello", 5);
    change(request);
    auto id = llm->engine().Submit(std::move(request), [](const RequestOutput&) {});
    if (id.ok()) return std::string("accepted");
    EXPECT_EQ(id.status().code(), StatusCode::kInvalidArgument);
    return id.status().message();
  };
  using Request = GenerationRequest;
  using ::testing::HasSubstr;
  EXPECT_THAT(message([](Request& r) { r.prompt.clear(); }), HasSubstr("prompt: empty"));
  EXPECT_THAT(message([](Request& r) { r.prompt = std::string(512, 'x'); }),
              HasSubstr("512 tokens"));
  EXPECT_THAT(message([](Request& r) { r.prompt = std::string(1 << 20, 'x'); }),
              HasSubstr("bytes"));
  EXPECT_THAT(message([](Request& r) { r.prompt_token_ids = {272}; }), HasSubstr("token 272"));
  EXPECT_THAT(message([](Request& r) { r.prompt_token_ids = {-1}; }), HasSubstr("token -1"));
  EXPECT_THAT(message([](Request& r) { r.params.n = 1000; }), HasSubstr("n: 1000"));
  EXPECT_THAT(message([](Request& r) { r.params.n = 1 << 30; }), HasSubstr("n: "));
  EXPECT_THAT(message([](Request& r) { r.params.temperature = std::nan(""); }),
              HasSubstr("temperature"));
  EXPECT_THAT(message([](Request& r) { r.params.top_p = 0; }), HasSubstr("top_p"));
  EXPECT_THAT(message([](Request& r) { r.params.logprobs = 21; }), HasSubstr("max_logprobs is 20"));
  EXPECT_THAT(message([](Request& r) { r.params.stop = {""}; }), HasSubstr("stop"));
  EXPECT_THAT(message([](Request& r) { r.params.logit_bias = {{500, 1.0f}}; }),
              HasSubstr("logit_bias"));
  EXPECT_THAT(message([](Request& r) { r.params.min_tokens = 9; }), HasSubstr("min_tokens"));
}

TEST_F(LlmEngineTest, ScoresAPromptWithoutGenerating) {
  auto llm = MakeLlm(Options());
  auto request = Request("score me", 0);
  request.params.prompt_logprobs = 2;
  const auto result = Run(*llm, request);
  ASSERT_EQ(result.prompt_logprobs.size(), 8u);
  EXPECT_FALSE(result.prompt_logprobs[0].has_value());
  EXPECT_EQ(result.prompt_logprobs[1]->token.bytes, "c");
  EXPECT_EQ(result.prompt_logprobs[1]->top.size(), 2u);
  EXPECT_LT(result.prompt_logprobs[1]->token.logprob, 0);
  EXPECT_EQ(result.usage.completion_tokens, 0);
  EXPECT_EQ(result.choices[0].finish_reason, FinishReason::kLength);
}

TEST_F(LlmEngineTest, EmbedsPromptsTheSameInAnyChunks) {
  std::vector<std::vector<float>> embeddings;
  for (const int32_t budget : {2048, 16}) {
    for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
      EngineOptions options = Options();
      options.max_num_batched_tokens = budget;
      auto llm = MakeLlm(options);
      auto request = Request(std::string(70, 'e') + "mbed", 5);
      request.pooling = pooling;
      auto result = Run(*llm, request);
      ASSERT_TRUE(result.status.ok());
      ASSERT_EQ(result.embedding.size(), 64u);
      double square = 0;
      for (const float x : result.embedding) square += static_cast<double>(x * x);
      EXPECT_NEAR(square, 1, 1e-5);
      EXPECT_EQ(result.usage.completion_tokens, 0);
      EXPECT_EQ(Run(*llm, request).embedding, result.embedding);  // prefix cache
      embeddings.push_back(std::move(result.embedding));
    }
  }
  EXPECT_EQ(embeddings[0], embeddings[2]);
  EXPECT_EQ(embeddings[1], embeddings[3]);
  EXPECT_NE(embeddings[0], embeddings[1]);
}

TEST_F(LlmEngineTest, StructuredOutputIsWhatTheSchemaSays) {
  auto llm = MakeLlm(Options());
  auto request = Request("json", 200);
  request.params.ignore_eos = false;
  request.params.temperature = 1;
  request.params.n = 4;
  request.params.seed = 9;
  request.params.structured_output.kind = StructuredOutput::Kind::kJsonSchema;
  request.params.structured_output.spec = R"({"type": "object", "properties": {
      "id": {"type": "integer", "minimum": 1, "maximum": 50},
      "kind": {"enum": ["cat", "dog"]}}, "required": ["id", "kind"]})";
  const auto result = Run(*llm, request);
  ASSERT_EQ(result.choices.size(), 4u);
  for (const auto& choice : result.choices) {
    EXPECT_EQ(choice.finish_reason, FinishReason::kStop);
    // Not gtest's matcher: Oniguruma brings a regcomp of its own that would take its place.
    const std::regex form(R"re(\{"id": ?[0-9]+, ?"kind": ?"(cat|dog)"\})re");
    EXPECT_TRUE(std::regex_match(choice.text, form)) << choice.text;
  }
  request.params.ignore_eos = true;  // ends where the text is complete all the same
  EXPECT_EQ(Run(*llm, request).choices[0].text, result.choices[0].text);

  request.params.structured_output.spec = R"({"type": "unknown"})";
  const auto refused = Run(*llm, request);
  EXPECT_EQ(refused.status.code(), StatusCode::kInvalidArgument);
}

TEST_F(LlmEngineTest, BeamsComeBestFirstAndBeatGreedy) {
  auto llm = MakeLlm(Options());
  auto greedy = Request("beam", 12);
  greedy.params.logprobs = 0;
  const double greedy_sum = Run(*llm, greedy).choices[0].cumulative_logprob;
  auto request = Request("beam", 12);
  request.params.use_beam_search = true;
  request.params.n = 4;
  const auto result = Run(*llm, request);
  ASSERT_EQ(result.choices.size(), 4u);
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_GE(result.choices[i - 1].cumulative_logprob, result.choices[i].cumulative_logprob);
  }
  EXPECT_GE(result.choices[0].cumulative_logprob, greedy_sum - 1e-3);
}

TEST_F(LlmEngineTest, TextAndFacts) {
  auto llm = MakeLlm(Options());
  LlmEngine& engine = llm->engine();
  EXPECT_EQ(*engine.Encode("hi"), (std::vector<int32_t>{'h', 'i'}));
  EXPECT_FALSE(engine.Decode(std::vector<int32_t>{9999}).ok());
  EXPECT_EQ(engine.TokenBytes(0xC3), "\xC3");
  ChatRequest chat;
  chat.messages_json = R"([{"role":"user","content":"hey"}])";
  EXPECT_EQ(*engine.RenderChat(chat), "<s>[user] hey\n[assistant] ");
  chat.continue_final_message = true;
  EXPECT_EQ(*engine.RenderChat(chat), "<s>[user] hey");
  chat.messages_json = "{";
  EXPECT_FALSE(engine.RenderChat(chat).ok());
  EXPECT_EQ(engine.model_info().architecture, "LlamaForCausalLM");
  EXPECT_EQ(engine.model_info().max_model_len, 512);
  EXPECT_THAT(engine.model_info().eos_token_ids, ::testing::Contains(TinyModel::kEos));
  EXPECT_EQ(engine.layer_precision().size(), 2u * 7 + 1);
  EXPECT_EQ(engine.default_sampling_params().temperature, 0.7);
  EXPECT_EQ(engine.default_sampling_params().top_k, 20);
}

TEST_F(LlmEngineTest, OptionsThatCannotWorkAreErrors) {
  const auto create = [&](auto change) {
    EngineOptions options = Options();
    change(options);
    return LLM::Create(options).status();
  };
  EXPECT_EQ(create([](EngineOptions& o) { o.model = "/nowhere"; }).code(), StatusCode::kNotFound);
  EXPECT_EQ(create([](EngineOptions& o) { o.kv_cache_dtype = "fp7"; }).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(create([](EngineOptions& o) { o.max_model_len = 100000; }).code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(create([](EngineOptions& o) {
              o.num_kv_blocks = 4;
              o.max_model_len = 512;
            }).code(),
            StatusCode::kResourceExhausted);
  EngineOptions small = Options();
  small.num_kv_blocks = 4;  // no length asked for: the pool decides
  auto llm = LLM::Create(small);
  ASSERT_TRUE(llm.ok()) << llm.status().ToString();
  EXPECT_EQ((*llm)->engine().model_info().max_model_len, 48);
}

TEST_F(LlmEngineTest, ManyThreadsSubmitAndAbort) {
  EngineOptions options = Options();
  options.max_num_queued_reqs = 10000;
  options.num_kv_blocks = 60;
  auto llm = MakeLlm(options);
  LlmEngine& engine = llm->engine();
  std::atomic<int> finished = 0;
  std::vector<std::thread> clients;
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto id = engine.Submit(Request("client " + std::to_string(t), 1 + i % 20),
                                      [&](const RequestOutput& o) { finished += o.finished; });
        ASSERT_TRUE(id.ok());
        if (i % 3 == 0) engine.Abort(*id);
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_TRUE(engine.Drain(60));
  EXPECT_EQ(finished, 200);
  EXPECT_EQ(engine.stats().kv_blocks_used, 0);
  EXPECT_TRUE(engine.health().ok());
}

// llama2.c documents what its 260K model says greedily.
TEST(RealModelTest, Stories260KTellsItsStory) {
  const char* shared = std::getenv("OCTAVO_SHARED");
  const std::string root = shared != nullptr ? shared : OCTAVO_SOURCE_DIR "/../shared";
  const std::string path = root + "/models/stories260K-f32";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << "; set OCTAVO_SHARED";
  EngineOptions options;
  options.model = path;
  options.dtype = "float32";
  options.num_threads = 1;
  auto llm = MakeLlm(options);
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = 200;
  const std::vector<std::string> prompts = {"Once upon a time"};
  const auto result = llm->Generate(prompts, params);
  EXPECT_TRUE(result[0].choices[0].text.starts_with(
      ", there was a little girl named Lily. She loved to play outside in the park. One day, she "
      "saw a big, red ball. She wanted to play with it, but it was too high."))
      << result[0].choices[0].text;
}

}  // namespace
}  // namespace octavo
