// SPDX-License-Identifier: Apache-2.0
// Continuous batching end to end over a fake model: every output equals what the request gives
// alone.
#include "engine/engine_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

#include "engine/fake_executor.h"
#include "engine/textbook_beams.h"

namespace octavo {
namespace {

using testing::FakeExecutor;

constexpr int64_t kVocab = 24;
constexpr int32_t kEos = 3;

struct Config {
  int64_t num_blocks = 41;
  int64_t block_size = 4;
  std::vector<int64_t> windows = {0};
  int32_t max_num_seqs = 8;
  int64_t max_num_batched_tokens = 32;
  bool prefix_caching = true;
  int32_t num_speculative_tokens = 0;
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  double target_step_ms = 0;
};

EngineCoreOptions OptionsOf(const Config& s) {
  EngineCoreOptions options;
  options.scheduler = {s.max_num_seqs, s.max_num_batched_tokens, 0, s.policy};
  options.blocks = {s.num_blocks, s.block_size, s.windows, s.prefix_caching};
  options.lookup = {s.num_speculative_tokens, 3, 1};
  options.end_tokens = {kEos};
  options.check_integrity = true;
  options.target_step_ms = s.target_step_ms;
  return options;
}

struct Choice {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::optional<FinishReason> reason;
};
using Outputs = std::map<std::pair<RequestId, int32_t>, Choice>;

class Harness {
 public:
  explicit Harness(const Config& setup)
      : executor(setup.num_blocks, setup.block_size, setup.windows, kVocab),
        core(OptionsOf(setup), BlockHasher({1, 2}, "test"), executor) {}

  bool Step() {
    StepReport report;
    const Status status = core.Step(report);
    EXPECT_TRUE(status.ok()) << status.ToString();
    for (const ChoiceUpdate& update : report.choices) {
      Choice& choice = outputs[{update.request_id, update.index}];
      EXPECT_FALSE(choice.reason.has_value()) << "news after the end";
      choice.tokens.insert(choice.tokens.end(), update.tokens.begin(), update.tokens.end());
      for (const auto& scores : update.scores) choice.logprobs.push_back(scores.token.logprob);
      choice.reason = update.finish_reason;
    }
    for (const PromptUpdate& prompt : report.prompts) {
      if (!prompt.scores.empty()) prompt_scores[prompt.request_id] = prompt.scores;
      num_cached += prompt.num_cached;
    }
    num_preempted += report.num_preempted;
    num_drafts += report.num_drafts;
    num_accepted += report.num_accepted_drafts;
    max_running = std::max(max_running, report.num_running);
    return status.ok();
  }

  void RunAll() {
    for (int i = 0; core.HasWork() && i < 100000; ++i) ASSERT_TRUE(Step());
    EXPECT_FALSE(core.HasWork());
  }

  FakeExecutor executor;
  EngineCore core;
  Outputs outputs;
  std::map<RequestId, std::vector<PositionScores>> prompt_scores;
  int64_t num_cached = 0;
  int64_t num_preempted = 0;
  int64_t num_drafts = 0;
  int64_t num_accepted = 0;
  int64_t max_running = 0;
};

std::shared_ptr<EngineRequest> MakeRequest(RequestId id, std::vector<int32_t> prompt,
                                           int64_t max_tokens) {
  auto request = std::make_shared<EngineRequest>();
  request->id = id;
  request->prompt = std::move(prompt);
  request->max_tokens = max_tokens;
  request->params.temperature = 0;
  request->seed = id * 77;
  return request;
}

// What one choice must be: the same sampler over hashes of the bare tokens.
Choice Expected(const EngineRequest& request, int32_t index, std::span<const int64_t> windows) {
  Choice choice;
  std::vector<int32_t> tokens = request.prompt;
  TokenHistory history = TokenHistory::FromPrompt(tokens, request.params);
  const std::vector<int32_t> ends =
      request.params.ignore_eos ? std::vector<int32_t>{} : std::vector<int32_t>{kEos};
  Sampler sampler;
  std::vector<float> logits(kVocab);
  while (!choice.reason) {
    const auto size = static_cast<int64_t>(tokens.size());
    testing::FakeLogits(testing::HistoryOf(tokens, size - 1, windows), logits);
    const DrawKey key{request.seed, index, size};
    const int64_t num_output = static_cast<int64_t>(choice.tokens.size());
    const auto sample =
        sampler.Draw({&request.params, &history, ends, num_output, nullptr}, logits, {&key, 1});
    tokens.push_back(sample[0].token);
    history.Add(sample[0].token);
    choice.tokens.push_back(sample[0].token);
    if (sample[0].scores) choice.logprobs.push_back(sample[0].scores->token.logprob);
    if (!request.params.ignore_eos && sample[0].token == kEos) {
      choice.reason = FinishReason::kStop;
    } else if (num_output + 1 == request.max_tokens) {
      choice.reason = FinishReason::kLength;
    }
  }
  return choice;
}

class RequestMaker {
 public:
  explicit RequestMaker(uint64_t seed) : rng_(seed) {}

  std::shared_ptr<EngineRequest> Next(RequestId id) {
    // Few distinct beginnings, so that prefixes are shared.
    std::vector<int32_t> prompt(Below(3) * 7 + 1 + Below(6), 5);
    prompt[0] = static_cast<int32_t>(Below(3)) + 4;
    for (size_t i = prompt.size() - Below(std::min<uint64_t>(prompt.size(), 5)); i < prompt.size();
         ++i) {
      prompt[i] = static_cast<int32_t>(Below(kVocab));
    }
    auto request = MakeRequest(id, std::move(prompt), static_cast<int64_t>(1 + Below(24)));
    SamplingParams& p = request->params;
    p.temperature = Below(2) == 0 ? 0 : 1;
    p.ignore_eos = Below(2) == 0;
    p.logprobs = Below(3) == 0 ? std::optional<int32_t>(2) : std::nullopt;
    p.top_k = Below(3) == 0 ? 5 : 0;
    p.repetition_penalty = Below(4) == 0 ? 1.3 : 1.0;
    p.n = Below(4) == 0 ? static_cast<int32_t>(2 + Below(3)) : 1;
    p.min_tokens = Below(4) == 0 ? 3 : 0;
    request->priority = static_cast<int32_t>(Below(3));
    return request;
  }

  uint64_t Below(uint64_t limit) { return rng_() % limit; }

 private:
  std::mt19937_64 rng_;
};

void ExpectEqual(const Choice& got, const Choice& want, RequestId id, int32_t index) {
  EXPECT_EQ(got.tokens, want.tokens) << "request " << id << " choice " << index;
  EXPECT_EQ(got.logprobs, want.logprobs) << "request " << id << " choice " << index;
  EXPECT_EQ(got.reason, want.reason) << "request " << id << " choice " << index;
}

// Everything the scheduler may do must leave every output as it is alone.
class BatchInvarianceTest : public ::testing::TestWithParam<std::pair<const char*, Config>> {};

TEST_P(BatchInvarianceTest, OutputsEqualThoseOfARequestAlone) {
  const Config& setup = GetParam().second;
  Harness harness(setup);
  RequestMaker maker(11);
  std::vector<std::shared_ptr<EngineRequest>> requests;
  for (RequestId id = 1; id <= 64; ++id) {
    requests.push_back(maker.Next(id));
    harness.core.Add(requests.back());
  }
  harness.RunAll();
  for (const auto& request : requests) {
    for (int32_t i = 0; i < request->params.n; ++i) {
      ExpectEqual(harness.outputs[{request->id, i}], Expected(*request, i, setup.windows),
                  request->id, i);
    }
  }
  EXPECT_EQ(harness.core.num_requests(), 0u);
  EXPECT_EQ(harness.core.blocks().num_used(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Engine, BatchInvarianceTest,
    ::testing::Values(
        std::pair("Plain", Config{}), std::pair("NoPrefixCache", Config{.prefix_caching = false}),
        std::pair("SmallBudget", Config{.max_num_batched_tokens = 8}),
        std::pair("LargeBudget",
                  Config{.num_blocks = 400, .max_num_seqs = 64, .max_num_batched_tokens = 2048}),
        std::pair("Preempting", Config{.num_blocks = 15}),
        std::pair("SlidingWindow", Config{.num_blocks = 61, .windows = {0, 9}}),
        std::pair("SlidingWindowPreempting", Config{.num_blocks = 31, .windows = {6, 0}}),
        std::pair("Speculative", Config{.num_speculative_tokens = 4}),
        std::pair("SpeculativePreempting", Config{.num_blocks = 16, .num_speculative_tokens = 4}),
        std::pair("Priority", Config{.num_blocks = 21, .policy = SchedulingPolicy::kPriority}),
        std::pair("StepTarget", Config{.target_step_ms = 0.001})),
    [](const auto& info) { return info.param.first; });

TEST(EngineCoreTest, SpeculationDraftsAndAcceptsOnRepetitiveText) {
  // Greedy text over a window of 2 tokens runs into a cycle, which look-up foresees.
  Config setup{.windows = {2}, .num_speculative_tokens = 4};
  Harness fast(setup);
  setup.num_speculative_tokens = 0;
  Harness plain(setup);
  for (Harness* h : {&fast, &plain}) {
    auto request = MakeRequest(1, {5, 6}, 120);
    request->params.ignore_eos = true;
    h->core.Add(request);
    h->RunAll();
  }
  const auto& got = fast.outputs[{1, 0}].tokens;
  EXPECT_EQ(got, (plain.outputs[{1, 0}].tokens));
  EXPECT_GT(fast.num_accepted, 20);
  EXPECT_LT(fast.executor.num_steps, plain.executor.num_steps * 2 / 3);
}

TEST(EngineCoreTest, PrefillsMixWithDecodesAndBatchesStayFull) {
  Harness h({.num_blocks = 400, .max_num_seqs = 8, .max_num_batched_tokens = 16});
  for (RequestId id = 1; id <= 32; ++id) {
    auto request = MakeRequest(id, std::vector<int32_t>(20, static_cast<int32_t>(id % kVocab)), 20);
    request->params.ignore_eos = true;
    h.core.Add(request);
  }
  int64_t steps = 0;
  int64_t running = 0;
  while (h.core.scheduler().num_waiting() > 0) {
    ASSERT_TRUE(h.Step());
    ++steps;
    running += h.core.scheduler().num_running();
  }
  EXPECT_GE(running, steps * 8 * 8 / 10);
  h.RunAll();
  EXPECT_EQ(h.num_preempted, 0);
}

TEST(EngineCoreTest, ChoicesShareThePromptsPages) {
  Harness h({.num_blocks = 400, .max_num_seqs = 16, .max_num_batched_tokens = 256});
  auto request = MakeRequest(1, std::vector<int32_t>(40, 7), 9);
  request->params.n = 8;
  request->params.temperature = 1;
  request->params.ignore_eos = true;
  h.core.Add(request);
  ASSERT_TRUE(h.Step());
  EXPECT_EQ(h.core.blocks().num_used(), 10);  // 40 tokens, shared by all 8
  while (h.core.num_requests() > 0 && h.outputs[{1, 0}].tokens.size() < 8) ASSERT_TRUE(h.Step());
  // 40 + 7 computed tokens: 10 shared pages and 2 of each choice's own.
  EXPECT_EQ(h.core.blocks().num_used(), 10 + 8 * 2);
  h.RunAll();
  EXPECT_EQ(h.core.blocks().num_used(), 0);
}

TEST(EngineCoreTest, PrefixCacheServesEqualPromptsAndHonoursTheSalt) {
  Harness h({.num_blocks = 100, .max_num_batched_tokens = 256});
  const std::vector<int32_t> prompt(33, 9);
  h.core.Add(MakeRequest(1, prompt, 2));
  h.RunAll();
  EXPECT_EQ(h.num_cached, 0);
  h.core.Add(MakeRequest(2, prompt, 2));
  h.RunAll();
  EXPECT_EQ(h.num_cached, 32);  // all full pages
  auto salted = MakeRequest(3, prompt, 2);
  salted->cache_salt = "other tenant";
  h.core.Add(salted);
  h.RunAll();
  EXPECT_EQ(h.num_cached, 32);
  h.core.ResetPrefixCache();
  h.core.Add(MakeRequest(4, prompt, 2));
  h.RunAll();
  EXPECT_EQ(h.num_cached, 32);
  EXPECT_EQ((h.outputs[{2, 0}].tokens), (h.outputs[{1, 0}].tokens));
}

TEST(EngineCoreTest, PromptScoresCoverThePromptWhateverTheChunks) {
  std::vector<std::vector<PositionScores>> runs;
  for (const int64_t budget : {8, 64}) {
    Harness h({.max_num_seqs = 4, .max_num_batched_tokens = budget});
    for (RequestId id = 1; id <= 2; ++id) {  // the second would hit the prefix cache
      std::vector<int32_t> prompt;
      for (int32_t i = 0; i < 30; ++i) prompt.push_back(i % kVocab);
      auto request = MakeRequest(id, prompt, 0);
      request->params.prompt_logprobs = 3;
      h.core.Add(request);
      h.RunAll();
      ASSERT_EQ(h.prompt_scores[id].size(), 29u);
      EXPECT_EQ((h.outputs[{id, 0}].reason), FinishReason::kLength);
      for (int32_t i = 0; i < 29; ++i) {
        const auto& scores = h.prompt_scores[id][static_cast<size_t>(i)];
        EXPECT_EQ(scores.token.token, (i + 1) % kVocab);
        EXPECT_EQ(scores.top.size(), 3u);
      }
      runs.push_back(h.prompt_scores[id]);
    }
  }
  for (const auto& run : runs) {
    for (size_t i = 0; i < run.size(); ++i) {
      EXPECT_EQ(run[i].token.logprob, runs[0][i].token.logprob);
      EXPECT_EQ(run[i].token.rank, runs[0][i].token.rank);
    }
  }
}

TEST(EngineCoreTest, AbortReportsOpenChoicesAndFreesPages) {
  Harness h({});
  auto request = MakeRequest(1, std::vector<int32_t>(10, 7), 100);
  request->params.ignore_eos = true;
  request->params.n = 3;
  h.core.Add(request);
  h.core.Add(MakeRequest(2, {1, 2}, 100));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(h.Step());
  h.core.Abort(1);
  h.core.Abort(2);
  h.core.Abort(99);
  EXPECT_EQ(h.core.blocks().num_used(), 0);
  h.RunAll();
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ((h.outputs[{1, i}].reason), FinishReason::kAbort);
}

TEST(EngineCoreTest, BeamSearchFindsWhatATextbookSearchFinds) {
  const std::vector<int64_t> windows = {0};
  const std::vector<int32_t> prompt = {1, 2, 7, 7, 7, 7, 7};
  constexpr int kWidth = 4;
  constexpr int kSteps = 12;
  testing::TextbookBeams search(prompt, kWidth, kVocab, kEos);
  for (int step = 0; step < kSteps; ++step) search.Step(windows);
  using Beam = testing::TextbookBeams::Beam;
  std::vector<Beam> completed = search.completed;
  completed.insert(completed.end(), search.beams.begin(), search.beams.end());
  const auto score = [](const Beam& b) {
    return b.sum / static_cast<double>(b.tokens.size() - (b.tokens.back() == kEos));
  };
  std::stable_sort(completed.begin(), completed.end(),
                   [&](const Beam& a, const Beam& b) { return score(a) > score(b); });

  for (const int64_t num_blocks : {100, 9}) {  // roomy, and one that preempts beams
    Harness h({.num_blocks = num_blocks});
    auto request = MakeRequest(1, prompt, kSteps);
    request->params.use_beam_search = true;
    request->params.n = kWidth;
    h.core.Add(request);
    h.RunAll();
    for (int32_t i = 0; i < kWidth; ++i) {
      std::vector<int32_t> want(completed[static_cast<size_t>(i)].tokens.begin() + 7,
                                completed[static_cast<size_t>(i)].tokens.end());
      EXPECT_EQ((h.outputs[{1, i}].tokens), want) << "beam " << i << ", pages " << num_blocks;
    }
    EXPECT_EQ(h.num_preempted > 0, num_blocks == 9);
    EXPECT_EQ(h.core.blocks().num_used(), 0);
  }
}

// Arrivals, aborts, stops, forks, beams, evictions and preemptions at random; the core verifies its
// books after every step, every finished output is compared, nothing may wait forever.
class RandomRun {
 public:
  RandomRun(const Config& setup, uint64_t seed) : setup_(setup), h_(setup), maker_(seed) {}

  void Run(int num_steps) {
    for (int step = 0; step < num_steps && !::testing::Test::HasFailure(); ++step) {
      Arrive();
      if (!open_.empty() && maker_.Below(24) == 0) Interrupt();
      ASSERT_TRUE(h_.Step());
      Collect();
    }
    for (const auto& [id, request] : open_) h_.core.Abort(id);
    EXPECT_EQ(h_.core.blocks().num_used(), 0);
    EXPECT_EQ(h_.core.num_requests(), 0u);
    EXPECT_GT(finished_, num_steps / 100);
    EXPECT_GT(h_.num_preempted, num_steps / 200);
    EXPECT_GT(h_.num_cached, num_steps / 10);
  }

 private:
  void Arrive() {
    while (open_.size() < 24 && maker_.Below(3) == 0) {
      auto request = maker_.Next(next_id_);
      if (maker_.Below(16) == 0) {
        request->params.use_beam_search = true;
        request->params.n = 3;
      }
      open_[next_id_++] = request;
      h_.core.Add(request);
    }
  }

  // A client leaves, or the output thread finds a stop string in one choice.
  void Interrupt() {
    const auto it = std::next(open_.begin(), static_cast<int64_t>(maker_.Below(open_.size())));
    const auto& [id, request] = *it;
    if (maker_.Below(2) == 0) return h_.core.Abort(id);
    const auto index = static_cast<int32_t>(maker_.Below(static_cast<uint64_t>(request->params.n)));
    Choice& choice = h_.outputs[{id, index}];
    if (choice.tokens.empty() || choice.reason) return;
    h_.core.StopChoice(id, index);
    choice.reason = FinishReason::kAbort;
  }

  void Collect() {
    for (auto it = open_.begin(); it != open_.end();) {
      if (!IsDone(*it->second)) {
        // Bounded waiting: 24 requests of at most 4 x 24 tokens cannot keep one waiting longer.
        ASSERT_LT(++age_[it->first], 24 * 4 * 48) << "request " << it->first << " starves";
        ++it;
        continue;
      }
      Compare(*it->second);
      age_.erase(it->first);
      it = open_.erase(it);
      ++finished_;
    }
  }

  bool IsDone(const EngineRequest& request) {
    for (int32_t i = 0; i < request.params.n; ++i) {
      if (!h_.outputs[{request.id, i}].reason) return false;
    }
    return true;
  }

  void Compare(const EngineRequest& request) {
    for (int32_t i = 0; i < request.params.n; ++i) {
      const Choice& got = h_.outputs[{request.id, i}];
      if (got.reason != FinishReason::kAbort && !request.params.use_beam_search) {
        ExpectEqual(got, Expected(request, i, setup_.windows), request.id, i);
      }
      h_.outputs.erase({request.id, i});
    }
  }

  Config setup_;
  Harness h_;
  RequestMaker maker_;
  std::map<RequestId, std::shared_ptr<EngineRequest>> open_;
  std::map<RequestId, int> age_;
  RequestId next_id_ = 1;
  int64_t finished_ = 0;
};

// OCTAVO_RANDOM_STEPS=1000000 runs as long as the engine's promise says; every run is shorter.
int NumSteps(int fallback) {
  const char* text = std::getenv("OCTAVO_RANDOM_STEPS");
  return text != nullptr ? std::atoi(text) : fallback;
}

TEST(EngineCoreRandomTest, FcfsWithTinyPool) {
  RandomRun({.num_blocks = 22, .num_speculative_tokens = 2}, 1).Run(NumSteps(60000));
}

TEST(EngineCoreRandomTest, PriorityWithSlidingWindows) {
  RandomRun({.num_blocks = 40, .windows = {0, 7}, .policy = SchedulingPolicy::kPriority}, 2)
      .Run(NumSteps(40000));
}

}  // namespace
}  // namespace octavo
