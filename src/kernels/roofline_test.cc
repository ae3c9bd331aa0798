// SPDX-License-Identifier: Apache-2.0
#include "kernels/roofline.h"

#include <gtest/gtest.h>

#include "base/cpu_features.h"

namespace octavo {
namespace {

TEST(RooflineTest, MeasuresWhatTheMachineHas) {
  ThreadPool pool(1);
  const Roofline r = MeasureRoofline(pool);
  EXPECT_GT(r.dram_gb_s, 0);
  EXPECT_EQ(r.f32_gflops > 0, DetectedIsa() >= IsaLevel::kAvx2);
  EXPECT_EQ(r.int8_gops > 0, DetectedIsa() >= IsaLevel::kAvx2);
  EXPECT_EQ(r.bf16_gflops > 0, DetectedIsa() >= IsaLevel::kAvx512Bf16);
  EXPECT_EQ(r.amx_int8_gops > 0, DetectedIsa() >= IsaLevel::kAmx);
  EXPECT_EQ(r.amx_bf16_gflops > 0, DetectedIsa() >= IsaLevel::kAmx);
}

TEST(RooflineTest, MeasuresALowerLevelWithItsOwnInstructions) {
  if (DetectedIsa() < IsaLevel::kAvx2) GTEST_SKIP() << "no AVX2";
  ThreadPool pool(1);
  const Roofline r = MeasureRoofline(pool, IsaLevel::kAvx2);
  EXPECT_GT(r.int8_gops, 0);
  EXPECT_EQ(r.BestInt8(), r.int8_gops);
  EXPECT_EQ(r.BestBf16(), r.f32_gflops);
}

TEST(RooflineTest, PeakLoopsCountTheirOperations) {
  if (DetectedIsa() < IsaLevel::kAvx2) GTEST_SKIP() << "no AVX2";
  EXPECT_EQ(RunPeakLoop(PeakLoop::kF32, 200), 2 * RunPeakLoop(PeakLoop::kF32, 100));
}

}  // namespace
}  // namespace octavo
