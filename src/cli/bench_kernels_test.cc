// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_kernels.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/onednn_speed.h"

namespace octavo {
namespace {

std::set<std::string> Names(const BenchKernelsOptions& options, IsaLevel isa) {
  std::set<std::string> names;
  const auto benches = PlanKernelBenches(options, isa);
  EXPECT_TRUE(benches.ok()) << benches.status().ToString();
  if (!benches.ok()) return names;
  for (const KernelBench& bench : *benches) names.insert(bench.name);
  return names;
}

TEST(BenchKernelsTest, PlansTheKernelsOfALevel) {
  const auto names = Names({}, IsaLevel::kAvx2);
  EXPECT_TRUE(names.contains("gemm/w8a8/gemm_int8_avx2"));
  EXPECT_TRUE(names.contains("attention/int4/attention_avx2"));
  for (const std::string& name : names) EXPECT_EQ(name.find("amx"), std::string::npos) << name;
  BenchKernelsOptions all;
  all.all_levels = true;
  EXPECT_TRUE(Names(all, IsaLevel::kAmx).contains("gemm/w8a8/gemm_int8_avx2"));
  EXPECT_TRUE(Names(all, IsaLevel::kAmx).contains("gemm/w8a8/gemm_w8a8_amx"));
}

TEST(BenchKernelsTest, FiltersByNameAndNamesWhatIsWrong) {
  BenchKernelsOptions options;
  options.filter = "gemm/w8a8/";
  for (const std::string& name : Names(options, IsaLevel::kAvx2)) EXPECT_TRUE(name.starts_with("gemm/w8a8/"));
  options.filter = "w9a9";
  EXPECT_NE(PlanKernelBenches(options, IsaLevel::kAvx2).status().ToString().find("'w9a9'"), std::string::npos);
  for (const char* shape : {"8960", "0x5", "5x", "x5", "5x7x9", "99999999x5"}) {
    BenchKernelsOptions wrong;
    wrong.shapes = {shape};
    EXPECT_EQ(PlanKernelBenches(wrong, IsaLevel::kAvx2).status().code(), StatusCode::kInvalidArgument) << shape;
  }
}

TEST(BenchKernelsTest, MeasuresAndPrintsARow) {
  BenchKernelsOptions options;
  options.shapes = {"64x64"};
  options.rows = {2};
  options.filter = "gemm/f32";
  options.rounds = 1;
  options.cold_mib = 1;
  const auto benches = PlanKernelBenches(options, DetectedIsa());
  ASSERT_TRUE(benches.ok());
  ASSERT_EQ(benches->size(), 1u);
  Result<Json> result = benches->front().run();
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_GT((*result)["us"].get<double>(), 0);
  EXPECT_GT((*result)["gop_s"].get<double>(), 0);
  (*result)["kernel"] = benches->front().name;
  (*result)["shape"] = benches->front().shape;
  const Json report = {{"machine",
                        {{"cpu", "a CPU"}, {"isa", "avx2"}, {"int8_gops", 1.0}, {"bf16_gflops", 2.0},
                         {"f32_gflops", 3.0}, {"dram_gb_s", 4.0}, {"onednn", "oneDNN 1.2.3"}}},
                       {"results", {*result}}};
  EXPECT_NE(KernelTable(report).find("| gemm/f32/gemm_f32_"), std::string::npos);
  EXPECT_NE(KernelTable(report).find("| m 2 n 64 k 64 |"), std::string::npos);
  EXPECT_NE(KernelTable(report).find("Beside them: oneDNN 1.2.3"), std::string::npos);
}

TEST(BenchKernelsTest, ShowsOneDnnWhereTheBuildHasIt) {
  EXPECT_EQ(Names({}, IsaLevel::kAvx2).contains("gemm/w8a8/onednn"), HasOneDnn());
  Result<OneDnnSpeed> speed = OneDnnSpeed::Create(OneDnnType::kBf16, 2, 64, 64, 1 << 20, DetectedIsa());
  ASSERT_EQ(speed.ok(), HasOneDnn());
  if (!speed.ok()) {
    EXPECT_EQ(speed.status().code(), StatusCode::kUnimplemented);
    EXPECT_NE(OneDnnVersion().find("OCTAVO_ONEDNN"), std::string::npos);
    return;
  }
  EXPECT_GT(speed->Round().seconds, 0);
}

}  // namespace
}  // namespace octavo
