// SPDX-License-Identifier: Apache-2.0
// LLM_INT8 beyond what holds for every scheme: bitsandbytes' numbers, thresholds, kept columns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/float16.h"
#include "schemes/open_linear.h"
#include "schemes/scheme.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kRows = 6, kCols = 20;
const std::string kModule = "model.layers.0.mlp.up_proj";

const Scheme& LlmInt8() { return *FindScheme("LLM_INT8"); }

std::vector<float> Values() {
  std::vector<float> x(kRows * kCols);
  for (size_t i = 0; i < x.size(); ++i) x[i] = RoundToBf16(std::sin(static_cast<float>(i)) * 0.3f);
  return x;
}

// A folder with one module whose columns 3 and 17 are kept.
void AddModule(TestCheckpoint& folder, std::optional<double> threshold) {
  const TargetModule target{.name = kModule,
                            .n = kRows,
                            .k = kCols,
                            .dtype = DType::kBF16,
                            .args = LlmInt8().args,
                            .kept_columns = {3, 17}};
  Json config = MakeQuantizationConfig(LlmInt8(), LlmInt8().args, {"lm_head"});
  config.erase("llm_int8_threshold");
  if (threshold) config["llm_int8_threshold"] = *threshold;
  folder.config["quantization_config"] = config;
  folder.AddQuantized(LlmInt8(), target, Values());
}

TEST(LlmInt8Test, RoundsByRowsOfTheHalfPrecisionWeight) {
  const std::vector<float> x = {0.5f, -1.0f, 0.25f, 1e-9f, 3e-8f, 0, 0, 0};
  const TargetModule target{.name = kModule, .n = 2, .k = 4, .args = LlmInt8().args};
  QuantizedRows rows;
  ASSERT_TRUE(LlmInt8().quantize(target, x.data(), 0, 2, rows).ok());
  // 63.5 and 31.75 to the nearest; 3e-8 is half of the smallest subnormal half float, so 0 (or 2^-24).
  EXPECT_THAT(std::vector<int8_t>(rows.codes.begin(), rows.codes.begin() + 4), ElementsAre(64, -127, 32, 0));
  EXPECT_EQ(rows.scales[0], 1.0f);
  EXPECT_EQ(rows.scales[1], RoundToDType(DType::kF16, 3e-8f));
  const std::vector<float> huge = {1e6f, 0, 0, 0};  // beyond half precision
  const Status status = LlmInt8().quantize({.name = kModule, .n = 1, .k = 4, .args = LlmInt8().args}, huge.data(), 5, 1, rows);
  EXPECT_THAT(status.ToString(), HasSubstr("row 5"));
}

TEST(LlmInt8Test, TheCheckpointsThresholdIsRun) {
  for (const auto& [stored, want] : {std::pair<std::optional<double>, float>{std::nullopt, 6.0f}, {0.0, 0.0f}, {4.5, 4.5f}}) {
    TestCheckpoint folder;
    AddModule(folder, stored);
    const auto loader = LinearLoader::Create(folder.Open());
    ASSERT_TRUE(loader.ok()) << loader.status().ToString();
    const auto source = loader->OpenLinear(kModule);
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    EXPECT_EQ((*source)->info().activation, ActivationFormat::kInt8);
    EXPECT_EQ((*source)->info().outlier_threshold, want);
    EXPECT_EQ((*source)->ReadKeptColumns().value().columns.size(), want == 0 ? 0u : 2u);
  }
  TestCheckpoint folder;
  AddModule(folder, -1.0);
  EXPECT_THAT(LinearLoader::Create(folder.Open()).status().ToString(), HasSubstr("llm_int8_threshold"));
}

TEST(LlmInt8Test, KeptColumnsAreTheOriginals) {
  TestCheckpoint folder;
  AddModule(folder, 6.0);
  const auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok());
  const auto source = loader->OpenLinear(kModule);
  ASSERT_TRUE(source.ok());
  const KeptColumns kept = (*source)->ReadKeptColumns().value();
  EXPECT_THAT(kept.columns, ElementsAre(3, 17));
  const std::vector<float> x = Values();
  ASSERT_EQ(kept.values.size(), 2u * kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    EXPECT_EQ(Bf16ToF32(kept.values[static_cast<size_t>(row)]), x[static_cast<size_t>(row * kCols + 3)]);
    EXPECT_EQ(Bf16ToF32(kept.values[static_cast<size_t>(kRows + row)]), x[static_cast<size_t>(row * kCols + 17)]);
  }
}

TEST(LlmInt8Test, OnlineTakesAThreshold) {
  TestCheckpoint folder;
  folder.AddBf16(kModule + ".weight", Shape{kRows, kCols}, Values());
  const Checkpoint& checkpoint = folder.Open();
  for (const auto& [name, want] : {std::pair("llm_int8", 6.0f), std::pair("llm_int8:0", 0.0f), std::pair("llm_int8:7.25", 7.25f)}) {
    const auto loader = LinearLoader::Create(checkpoint, name);
    ASSERT_TRUE(loader.ok()) << loader.status().ToString();
    EXPECT_EQ(loader->OpenLinear(kModule).value()->info().outlier_threshold, want);
  }
  for (const char* bad : {"llm_int8:", "llm_int8:x", "llm_int8:-1", "llm_int8:6y", "llm_int8:inf", "int8:6"}) {
    EXPECT_EQ(LinearLoader::Create(checkpoint, bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(LlmInt8Test, WrongColumnsAreRefused) {
  TestCheckpoint folder;
  AddModule(folder, 6.0);
  folder.Add(kModule + ".outlier_columns", DType::kI32, Shape{2}, std::vector<int32_t>{17, 3});
  const auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok());
  EXPECT_THAT(loader->OpenLinear(kModule).status().ToString(), HasSubstr("ascending columns of 20"));
}

}  // namespace
}  // namespace octavo
