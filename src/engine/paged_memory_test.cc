// SPDX-License-Identifier: Apache-2.0
// What paging and sharing save: pages in use step by step, against prediction and against a table
// without sharing. Each test prints its row; scripts/paged_memory.sh makes the table of them.
// Source: PagedAttention, arXiv:2309.06180, sections 6.2 and 6.3 (waste, parallel sampling, beams).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine_core.h"
#include "engine/textbook_beams.h"

namespace octavo {
namespace {

using testing::FakeExecutor;
using testing::TextbookBeams;

constexpr int64_t kPage = 16;
constexpr int64_t kVocab = 24;
constexpr int32_t kNoEos = -1;
constexpr int64_t kPromptTokens = 200;  // ShareGPT's means
constexpr int64_t kOutputTokens = 300;

int64_t PagesOf(int64_t tokens) { return (tokens + kPage - 1) / kPage; }

std::vector<int32_t> RandomTokens(std::mt19937& rng, int64_t count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng() % kVocab);
  return tokens;
}

// The core over the fake model, one step computing whole prompts, counting what each choice has.
class PagedEngine {
 public:
  explicit PagedEngine(bool prefix_caching)
      : executor_(kBlocks, kPage, {0}, kVocab), core_(Options(prefix_caching), Hasher(), executor_) {}

  void Add(RequestId id, std::vector<int32_t> prompt, int64_t max_tokens,
           const SamplingParams& params) {
    auto request = std::make_shared<EngineRequest>();
    request->id = id;
    request->prompt = std::move(prompt);
    request->max_tokens = max_tokens;
    request->params = params;
    request->params.ignore_eos = true;
    request->seed = id;
    prompt_tokens_[id] = static_cast<int64_t>(request->prompt.size());
    core_.Add(request);
  }

  // False after the last step.
  bool Step() {
    StepReport report;
    EXPECT_TRUE(core_.Step(report).ok());
    for (const ChoiceUpdate& update : report.choices) {
      const std::pair key(update.request_id, update.index);
      computed_[key].first = prompt_tokens_[update.request_id];
      computed_[key].second += static_cast<int64_t>(update.tokens.size());
      if (update.finish_reason) computed_.erase(key);
    }
    return core_.HasWork();
  }

  // Tokens in the cache per running choice; the last one drawn is not computed yet.
  std::vector<int64_t> Lengths() const {
    std::vector<int64_t> lengths;
    for (const auto& [key, counts] : computed_) lengths.push_back(counts.first + counts.second - 1);
    return lengths;
  }

  int64_t pages() const { return core_.blocks().num_used(); }

 private:
  static constexpr int64_t kBlocks = 4096;
  static BlockHasher Hasher() { return BlockHasher({1, 2}, "paged"); }
  static EngineCoreOptions Options(bool prefix_caching) {
    EngineCoreOptions options;
    options.scheduler = {32, 16384, 0, SchedulingPolicy::kFcfs};
    options.blocks = {kBlocks, kPage, {0}, prefix_caching};
    options.check_integrity = true;
    return options;
  }

  FakeExecutor executor_;
  EngineCore core_;
  std::map<RequestId, int64_t> prompt_tokens_;
  std::map<std::pair<RequestId, int32_t>, std::pair<int64_t, int64_t>> computed_;
};

SamplingParams Greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

// Pages held, summed over the steps of a run.
struct PageSteps {
  int64_t used = 0;
  int64_t unshared = 0;  // had every choice pages of its own

  double saving() const {
    return 100 * (1 - static_cast<double>(used) / static_cast<double>(unshared));
  }
};

void PrintRow(const std::string& what, const PageSteps& steps, const char* paper) {
  fmt::print("| {} | {} | {} | {:.1f} % | {} |\n", what, steps.unshared, steps.used, steps.saving(),
             paper);
  std::fflush(stdout);
}

TEST(PagedMemoryTest, WasteOfRunningRequestsStaysUnderFourPercent) {
  PagedEngine engine(false);
  std::mt19937 rng(11);
  std::uniform_int_distribution<int64_t> input(1, 2 * kPromptTokens - 1);
  std::uniform_int_distribution<int64_t> output(1, 2 * kOutputTokens - 1);
  for (RequestId id = 1; id <= 64; ++id) {
    engine.Add(id, RandomTokens(rng, input(rng)), output(rng), Greedy());
  }
  int64_t tokens = 0;
  int64_t pages = 0;
  for (bool more = true; more;) {
    more = engine.Step();
    int64_t predicted = 0;
    for (const int64_t length : engine.Lengths()) {
      tokens += length;
      predicted += PagesOf(length);
    }
    ASSERT_EQ(engine.pages(), predicted);
    pages += predicted;
  }
  const double waste = 1 - static_cast<double>(tokens) / static_cast<double>(pages * kPage);
  fmt::print("| waste, 64 requests of {} + {} tokens on average | - | {} | waste {:.1f} % | "
             "waste under 4 % |\n", kPromptTokens, kOutputTokens, pages, 100 * waste);
  EXPECT_GT(waste, 0);
  EXPECT_LT(waste, 0.04);
}

TEST(PagedMemoryTest, SharedPrefixIsHeldOnce) {
  constexpr int64_t kRequests = 8;
  PagedEngine engine(true);
  std::mt19937 rng(12);
  const std::vector<int32_t> prefix = RandomTokens(rng, kPromptTokens / kPage * kPage);
  engine.Add(1, prefix, 1, Greedy());  // computes it
  EXPECT_FALSE(engine.Step());
  for (RequestId id = 2; id < 2 + kRequests; ++id) {
    std::vector<int32_t> prompt = prefix;
    prompt.push_back(static_cast<int32_t>(id));
    engine.Add(id, std::move(prompt), kOutputTokens, Greedy());
  }
  PageSteps sum;
  const int64_t shared = PagesOf(static_cast<int64_t>(prefix.size()));
  while (engine.Step()) {
    int64_t predicted = shared;
    for (const int64_t length : engine.Lengths()) {
      predicted += PagesOf(length) - shared;
      sum.unshared += PagesOf(length);
    }
    ASSERT_EQ(engine.pages(), predicted);
    sum.used += predicted;
  }
  EXPECT_EQ(engine.pages(), 0);
  PrintRow(fmt::format("{} requests with {} tokens in common", kRequests, prefix.size()), sum, "-");
  EXPECT_GT(sum.saving(), 30);  // half of the way, 12 of about 22 pages are shared by 8
}

TEST(PagedMemoryTest, EightChoicesShareThePrompt) {
  constexpr int32_t kChoices = 8;
  PagedEngine engine(false);
  std::mt19937 rng(13);
  SamplingParams params;
  params.n = kChoices;
  params.temperature = 1;
  engine.Add(1, RandomTokens(rng, kPromptTokens), kOutputTokens, params);
  PageSteps sum;
  const int64_t full = kPromptTokens / kPage;  // the page after them is copied on write
  int64_t step = 0;
  while (engine.Step()) {
    const int64_t length = kPromptTokens + step;
    const int64_t own = step == 0 ? 0 : kChoices * (PagesOf(length) - full);
    ASSERT_EQ(engine.pages(), step == 0 ? PagesOf(length) : full + own) << "step " << step;
    sum.used += engine.pages();
    sum.unshared += kChoices * PagesOf(length);
    ++step;
  }
  EXPECT_EQ(step, kOutputTokens - 1);
  EXPECT_EQ(engine.pages(), 0);
  PrintRow(fmt::format("n = {}, {} + {} tokens", kChoices, kPromptTokens, kOutputTokens), sum,
           "6 to 31 %");
  EXPECT_GT(sum.saving(), 25);
}

// Beams hold one page for each different beginning of theirs that ends where a page ends.
TEST(PagedMemoryTest, BeamsHoldOnePagePerDifferentBeginning) {
  constexpr size_t kWidth = 4;
  PagedEngine engine(false);
  std::mt19937 rng(14);
  const std::vector<int32_t> prompt = RandomTokens(rng, kPromptTokens);
  SamplingParams params = Greedy();
  params.use_beam_search = true;
  params.n = kWidth;
  engine.Add(1, prompt, kOutputTokens, params);
  TextbookBeams search(prompt, kWidth, kVocab, kNoEos);
  const std::vector<int64_t> windows = {0};
  PageSteps sum;
  for (int64_t length = kPromptTokens; engine.Step(); ++length) {
    search.Step(windows);
    int64_t predicted = 0;
    for (int64_t page = 0; page < PagesOf(length); ++page) {
      std::set<std::vector<int32_t>> beginnings;
      for (const auto& beam : search.beams) {
        const int64_t end = std::min((page + 1) * kPage, length);
        beginnings.insert({beam.tokens.begin(), beam.tokens.begin() + end});
      }
      predicted += static_cast<int64_t>(beginnings.size());
    }
    ASSERT_EQ(engine.pages(), predicted) << "at " << length << " tokens";
    sum.used += predicted;
    sum.unshared += static_cast<int64_t>(kWidth) * PagesOf(length);
  }
  EXPECT_EQ(engine.pages(), 0);
  PrintRow(fmt::format("beam width {}, {} + {} tokens", kWidth, kPromptTokens, kOutputTokens), sum,
           "up to 55 %");
  EXPECT_GT(sum.saving(), 40);
}

}  // namespace
}  // namespace octavo
