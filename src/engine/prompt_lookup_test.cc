// SPDX-License-Identifier: Apache-2.0
#include "engine/prompt_lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/step_clock.h"
#include "octavo/engine_options.h"

namespace octavo {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const PromptLookupOptions kOptions{8, 3, 2};

TEST(PromptLookupTest, ProposesWhatFollowedTheLongestSuffix) {
  const std::vector<int32_t> tokens = {1, 2, 3, 40, 9, 2, 3, 50, 8, 1, 2, 3};
  EXPECT_THAT(ProposeByPromptLookup(tokens, kOptions, 2), ElementsAre(40, 9));  // 1 2 3 beats 2 3
}

TEST(PromptLookupTest, PrefersTheLatestOccurrence) {
  const std::vector<int32_t> tokens = {2, 3, 40, 9, 2, 3, 50, 8, 2, 3};
  EXPECT_THAT(ProposeByPromptLookup(tokens, kOptions, 1), ElementsAre(50));
}

TEST(PromptLookupTest, StopsAtTheEndAndAtTheCount) {
  const std::vector<int32_t> tokens = {7, 7, 7, 7};
  EXPECT_THAT(ProposeByPromptLookup(tokens, kOptions, 5), ElementsAre(7));
  EXPECT_THAT(ProposeByPromptLookup(tokens, kOptions, 0), IsEmpty());
}

TEST(PromptLookupTest, FindsNothingInNewOrShortText) {
  EXPECT_THAT(ProposeByPromptLookup(std::vector<int32_t>{1, 2, 3, 4}, kOptions, 4), IsEmpty());
  EXPECT_THAT(ProposeByPromptLookup(std::vector<int32_t>{1}, kOptions, 4), IsEmpty());
  EXPECT_THAT(ProposeByPromptLookup({}, kOptions, 4), IsEmpty());
}

TEST(DraftPacerTest, GrowsWithSuccessAndPausesAfterFailure) {
  DraftPacer pacer;
  EXPECT_EQ(pacer.NextCount(16), 2);
  pacer.Observe(2, 2);
  EXPECT_EQ(pacer.NextCount(16), 4);
  pacer.Observe(4, 1);
  EXPECT_EQ(pacer.NextCount(16), 2);
  int proposals = 0;
  for (int step = 0; step < 320; ++step) {
    const int64_t count = pacer.NextCount(16);
    proposals += count > 0;
    pacer.Observe(count, 0);
  }
  EXPECT_LT(proposals, 16);
}

TEST(StepClockTest, FindsTheBudgetOfALinearMachine) {
  StepClock clock(50, 2048);
  EXPECT_EQ(clock.TokenBudget({}), 64);  // cautious before the first measurement
  for (int i = 0; i < 100; ++i) {
    const int64_t tokens = 1 + (i * 37) % 400;
    clock.Observe(tokens, 10 + 0.2 * static_cast<double>(tokens));
  }
  EXPECT_NEAR(static_cast<double>(clock.TokenBudget({})), 200, 4);
}

TEST(StepClockTest, AutoTargetBoundsThePaceOfRunningStreams) {
  StepClock clock(kAutoTargetStepMs, 2048);
  for (int i = 0; i < 100; ++i) {
    const int64_t tokens = 1 + (i * 37) % 400;
    clock.Observe(tokens, 10 + 0.2 * static_cast<double>(tokens));
  }
  // A step of 8 decodes takes 11.6 ms; one of 37 tokens 1.5 times that.
  const auto budget = [&](int64_t decodes, int64_t prefill) {
    return static_cast<double>(clock.TokenBudget({.num_decodes = decodes, .prefill_tokens = prefill}));
  };
  EXPECT_NEAR(budget(8, 1000), 37, 2);
  const auto of_prompts = [&](int64_t decodes, int64_t prompts) {
    return static_cast<double>(clock.TokenBudget(
        {.num_decodes = decodes, .num_prompts = prompts, .prefill_tokens = 64 * prompts}));
  };
  EXPECT_EQ(of_prompts(8, 1), budget(8, 64)) << "one prompt, short or long, waits for the streams";
  EXPECT_NEAR(of_prompts(8, 9), 124, 4) << "as many more as there are streams: the step may take twice as long";
  EXPECT_GT(of_prompts(1, 31), 1.5 * 512) << "a batch starts: nearly unpaced";
  EXPECT_EQ(budget(0, 1000), 2048) << "nobody waits for the step";
  EXPECT_EQ(budget(8, 32000), 1000) << "a backlog is worked off in 32 steps";
  EXPECT_EQ(budget(8, 1000000), 2048);
}

TEST(StepClockTest, KeepsWithinItsLimits) {
  EXPECT_EQ(StepClock(0, 512).TokenBudget({}), 512);
  StepClock slow(5, 512);
  for (int i = 1; i < 50; ++i) slow.Observe(i, 100);
  EXPECT_EQ(slow.TokenBudget({}), StepClock::kMinTokens);
  StepClock fast(50, 512);
  for (int i = 1; i < 50; ++i) fast.Observe(i, 0.001 * i);
  EXPECT_EQ(fast.TokenBudget({}), 512);
}

}  // namespace
}  // namespace octavo
