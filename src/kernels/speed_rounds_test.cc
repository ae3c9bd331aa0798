// SPDX-License-Identifier: Apache-2.0
#include "kernels/speed_rounds.h"

#include <gtest/gtest.h>

#include "kernels/attention_speed.h"
#include "kernels/gemm_speed.h"

namespace octavo {
namespace {

TEST(SpeedRoundsTest, MediansAreOfTheRoundsRatios) {
  // A neighbour halves kernel and peak in the second round: the ratio stays.
  const std::vector<SpeedRound> rounds = {
      {.seconds = 1, .operations = 50, .bytes = 8, .peak_rate = 100, .read_rate = 16},
      {.seconds = 2, .operations = 50, .bytes = 8, .peak_rate = 50, .read_rate = 8},
      {.seconds = 1, .operations = 50, .bytes = 8, .peak_rate = 80, .read_rate = 16}};
  const KernelSpeed speed = Summarize(rounds);
  EXPECT_DOUBLE_EQ(speed.seconds, 1);
  EXPECT_DOUBLE_EQ(speed.pct_peak, 50);
  EXPECT_DOUBLE_EQ(speed.best_pct_peak, 62.5);
  EXPECT_DOUBLE_EQ(speed.pct_read, 50);
  EXPECT_DOUBLE_EQ(speed.gop_s, 50e-9);
}

TEST(SpeedRoundsTest, KernelsCountTheirWork) {
  for (const GemmSpeedCase& c : GemmSpeedCases(64, 128)) {
    const GemmKernel* kernel = FindGemmKernel(c.weight, c.format, DetectedIsa());
    ASSERT_NE(kernel, nullptr) << c.scheme;
    Result<GemmSpeed> speed = GemmSpeed::Create(*kernel, c, 3, 1 << 20);
    ASSERT_TRUE(speed.ok()) << c.scheme;
    const SpeedRound round = speed->Round();
    EXPECT_EQ(round.operations, 2.0 * 3 * 64 * 128);
    EXPECT_GT(round.bytes, 64 * 128 / 2) << c.scheme;
    EXPECT_GT(round.seconds, 0);
  }
  Result<AttentionSpeed> speed = AttentionSpeed::Create(DetectedIsa(), KvDType::kInt8, {4, 2, 64}, 64, 1, 1);
  ASSERT_TRUE(speed.ok());
  EXPECT_EQ(speed->Round().operations, 4.0 * 64 * 4 * 64);
}

}  // namespace
}  // namespace octavo
