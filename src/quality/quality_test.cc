// SPDX-License-Identifier: Apache-2.0
// Parts of the certificate on inputs whose results are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "quality/channel_stats.h"
#include "quality/compare_models.h"
#include "quality/input_tap.h"
#include "quality/quality_report.h"
#include "quality/report_text.h"
#include "quality/svg_plot.h"
#include "quality/weight_error.h"

namespace octavo {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kGolden = OCTAVO_SOURCE_DIR "/tests/golden/";

ActivationView Encode(ActivationBuffer& buffer, ActivationFormat format,
                      const std::vector<std::vector<float>>& rows) {
  const auto count = static_cast<int64_t>(rows.size());
  EXPECT_TRUE(
      buffer.Reserve({.format = format}, count, static_cast<int64_t>(rows[0].size())).ok());
  for (int64_t i = 0; i < count; ++i) buffer.EncodeRow(i, rows[static_cast<size_t>(i)].data());
  return buffer.view();
}

class ChannelStatsTest : public ::testing::TestWithParam<ActivationFormat> {};

TEST_P(ChannelStatsTest, FindsTheOutlierChannelInEveryFormat) {
  std::vector<std::vector<float>> rows(4, std::vector<float>(200, 0.5f));
  rows[1][150] = -40.0f;
  rows[3][150] = 7.0f;
  rows[2][3] = 5.9f;
  ActivationBuffer buffer;
  ChannelStats stats;
  stats.Add(Encode(buffer, GetParam(), rows));
  EXPECT_EQ(stats.rows(), 4);
  // int8 and E4M3 hold the largest value of a row to half a step; bf16 to 2^-9.
  EXPECT_NEAR(stats.max_abs()[150], 40.0f, 0.2f);
  EXPECT_EQ(stats.outlier_rows()[150], 2);
  EXPECT_EQ(stats.outlier_rows()[3], 0);
  // The outlier's row is coarsest in int8: steps of 40 / 127.
  EXPECT_NEAR(stats.max_abs()[0], 0.5f, 0.16f);
  EXPECT_GT(stats.spread(), 40 / 0.66);
  EXPECT_LT(stats.spread(), 41 / 0.49);
}

INSTANTIATE_TEST_SUITE_P(Formats, ChannelStatsTest,
                         ::testing::Values(ActivationFormat::kF32, ActivationFormat::kBf16,
                                           ActivationFormat::kInt8, ActivationFormat::kFp8,
                                           ActivationFormat::kFp8Group128));

TEST(InputTapTest, SamplesEvenlyAcrossCalls) {
  InputTap tap(4, 40);
  const LinearTap function = tap.AsTap();
  ActivationBuffer buffer;
  for (int call = 0; call < 4; ++call) {
    std::vector<std::vector<float>> rows;
    for (int row = 0; row < 10; ++row) rows.push_back({static_cast<float>(call * 10 + row), 1.0f});
    function("slot", Encode(buffer, ActivationFormat::kF32, rows));
  }
  const auto& slot = tap.slots().at("slot");
  EXPECT_EQ(slot.stats.rows(), 40);
  EXPECT_EQ(slot.sample, (std::vector<float>{0, 1, 10, 1, 20, 1, 30, 1}));
}

TEST(ErrorSumsTest, MatchesTheDefinition) {
  ErrorSums sums;
  sums.Add(3.0, 3.0);
  sums.Add(4.0, 2.0);
  EXPECT_DOUBLE_EQ(sums.relative(), 2.0 / 5.0);
  EXPECT_DOUBLE_EQ(sums.cosine(), 17.0 / (5.0 * std::sqrt(13.0)));
  EXPECT_TRUE(std::isnan(ErrorSums().relative()));
}

CompareInput GoldenInput(const std::string& a, const std::string& b) {
  CompareInput input;
  input.reference.checkpoint = Checkpoint::Open(kGolden + a).value();
  input.other.checkpoint = Checkpoint::Open(kGolden + b).value();
  input.window = 24;
  for (int32_t i = 0; i < 72; ++i) input.tokens.push_back(i * 7 % 100);
  return input;
}

TEST(CompareModelsTest, AModelDoesNotDifferFromItself) {
  ThreadPool pool(2);
  const auto result = CompareModels(GoldenInput("llama/plain", "llama/plain"), pool, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  ASSERT_EQ(result->tokens.size(), 3u * 23);
  for (const TokenComparison& token : result->tokens) {
    EXPECT_EQ(token.kl, 0);
    EXPECT_EQ(token.reference_log_prob, token.other_log_prob);
  }
  ASSERT_EQ(result->layers.size(), 2u);
  EXPECT_EQ(result->layers[1].own_error, 0);
  EXPECT_EQ(result->layers[1].total_error, 0);
  ASSERT_EQ(result->linears.size(), 2u * 7);
  for (const LinearQuality& linear : result->linears) {
    EXPECT_EQ(linear.weight.relative, 0) << linear.module;
    EXPECT_EQ(linear.output_error, 0) << linear.module;
  }
  EXPECT_EQ(result->inputs.size(), 2u * 4);
  EXPECT_EQ(result->inputs[0].reference.rows(), 72);
}

TEST(CompareModelsTest, CoarserCodesAreFurtherAway) {
  ThreadPool pool(2);
  double last = 0;
  for (const char* scheme : {"int8", "w4a16"}) {
    CompareInput input = GoldenInput("llama/plain", "llama/plain");
    input.other.load.quantization = scheme;
    const auto result = CompareModels(input, pool, nullptr);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    const double kl = Summarize(result->tokens).mean_kl.value;
    EXPECT_GT(kl, last) << scheme;
    last = kl;
    for (const LinearQuality& linear : result->linears) {
      // A round-to-nearest step of 2 amax / 255 (or / 15) of Gaussian weights, whose amax is about
      // three deviations, errs by 0.7 (11) percent; activations add as much.
      const bool int8 = std::string_view(scheme) == "int8";
      EXPECT_GT(linear.weight.relative, int8 ? 0.002 : 0.03) << linear.module;
      EXPECT_LT(linear.weight.relative, int8 ? 0.03 : 0.2) << linear.module;
      EXPECT_LT(linear.output_error, int8 ? 0.05 : 0.3) << linear.module;
      EXPECT_GT(linear.weight.cosine, int8 ? 0.999 : 0.97) << linear.module;
    }
    EXPECT_GT(result->layers[0].own_error, 0);
    EXPECT_NEAR(result->layers[0].own_error, result->layers[0].total_error, 0.5);
  }
}

TEST(CompareModelsTest, ModelsOfOtherShapesComeDownToTheirPredictions) {
  ThreadPool pool(2);
  const auto result = CompareModels(GoldenInput("llama/plain", "opt/pre_norm"), pool, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->tokens.size(), 3u * 23);
  EXPECT_TRUE(result->linears.empty());
  EXPECT_GT(Summarize(result->tokens).mean_kl.value, 0);
}

TEST(CompareModelsTest, EveryExpertThatRanIsCompared) {
  ThreadPool pool(2);
  CompareInput input = GoldenInput("mixtral/four_experts", "mixtral/four_experts");
  input.other.load.quantization = "int8";
  const auto result = CompareModels(input, pool, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  int64_t experts = 0;
  for (const LinearQuality& linear : result->linears) {
    if (linear.module.find(".experts.") == std::string::npos) continue;
    ++experts;
    EXPECT_GT(linear.weight.relative, 0) << linear.module;
    EXPECT_LT(linear.output_error, 0.05) << linear.module;
  }
  EXPECT_GE(experts, 3 * 2);  // at least two experts of a layer, three matrices each
}

TEST(CompareModelsTest, RefusesWhatMakesNoSense) {
  ThreadPool pool(2);
  CompareInput input = GoldenInput("llama/plain", "llama/plain");
  input.tokens.pop_back();
  EXPECT_EQ(CompareModels(input, pool, nullptr).status().code(), StatusCode::kInvalidArgument);
  input.tokens.clear();
  EXPECT_EQ(CompareModels(input, pool, nullptr).status().code(), StatusCode::kInvalidArgument);
  input = GoldenInput("llama/plain", "llama/plain");
  input.tokens[5] = 1 << 20;
  EXPECT_THAT(CompareModels(input, pool, nullptr).status().message(), HasSubstr("1048576"));
  input = GoldenInput("llama/plain", "llama/plain");
  input.scratch_folder = "/nosuchfolder";
  EXPECT_THAT(CompareModels(input, pool, nullptr).status().message(), HasSubstr("/nosuchfolder"));
  input = GoldenInput("llama/plain", "llama/plain");
  const std::atomic<bool> cancel = true;
  input.cancel = &cancel;
  EXPECT_EQ(CompareModels(input, pool, nullptr).status().code(), StatusCode::kCancelled);
}

Json EstimateJson(double value, double error) {
  return {{"value", value}, {"standard_error", error}};
}

TEST(ReportTextTest, RoundsToTheError) {
  EXPECT_EQ(FormatEstimate(EstimateJson(0.012345, 0.00041)), "0.01235 ± 0.00041");
  EXPECT_EQ(FormatEstimate(EstimateJson(19.1234, 1.26)), "19.1 ± 1.3");
  EXPECT_EQ(FormatEstimate(EstimateJson(0.5, 0.01), 100, " %"), "50.0 ± 1.0 %");
  EXPECT_EQ(FormatEstimate(EstimateJson(0.25, 0)), "0.25");
  EXPECT_EQ(FormatEstimate({{"value", nullptr}, {"standard_error", nullptr}}), "unknown");
}

TEST(ReportTextTest, TailsKeepWholeCharacters) {
  EXPECT_EQ(OneLineTail("a\nb", 10), "a b");
  EXPECT_EQ(OneLineTail("xxé", 2), "…é");
  EXPECT_EQ(OneLineTail("xxé", 1), "…");
}

TEST(ReportTextTest, TokensShowTheirLineEnds) { EXPECT_EQ(VisibleToken("|\r\n\t"), "|⏎⇥"); }

TEST(QualityLimitsTest, WhatIsNotFiniteKeepsNoLimit) {
  Json report = {{"divergence", {{"mean_kl", EstimateJson(0.02, 0)}}},
                 {"perplexity", {{"increase_percent", EstimateJson(3.0, 0)}}}};
  EXPECT_TRUE(CheckLimits({}, report).ok());
  EXPECT_TRUE(CheckLimits({.max_kld = 0.02, .max_perplexity_percent = 3}, report).ok());
  const Status status = CheckLimits({.max_kld = 0.01, .max_perplexity_percent = 2}, report);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("0.02, limit 0.01"));
  EXPECT_THAT(status.message(), HasSubstr("3, limit 2"));
  report["divergence"]["mean_kl"]["value"] = nullptr;
  EXPECT_FALSE(CheckLimits({.max_kld = 1000}, report).ok());
}

TEST(SvgPlotTest, DrawsNothingOutOfNothingAndGapsForUnknown) {
  EXPECT_EQ(SvgHistogram({}, {}, {}, "x"), "");
  EXPECT_EQ(SvgLines({}, "x"), "");
  EXPECT_EQ(SvgHeatMap({}), "");
  const std::string curves = SvgCurves(
      {{.label = "a", .points = {{1, 0.5, "<t>"}, {2, 0, "zero"}, {4, 0.01, "last"}}}, {.label = "b", .points = {}}},
      "bits");
  EXPECT_THAT(curves, AllOf(HasSubstr("&lt;t&gt;"), HasSubstr("last"), Not(HasSubstr("zero")),
                            Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
  EXPECT_THAT(StandaloneSvg(curves), AllOf(HasSubstr("xmlns="), HasSubstr("<style>"), HasSubstr("last")));
  const std::string lines =
      SvgLines({{.label = "<a>", .values = {1, 2, std::nan(""), 3}}}, "layer");
  EXPECT_THAT(lines, HasSubstr("&lt;a&gt;"));
  EXPECT_THAT(lines, Not(HasSubstr("nan")));
  for (const bool log : {false, true}) {
    const std::string flat = SvgHeatMap({.row_labels = {"r"}, .rows = {{0, 0, 0}}, .x_label = "x",
                                         .log = log});
    EXPECT_THAT(flat, Not(HasSubstr("nan")));
    EXPECT_THAT(flat, Not(HasSubstr("inf")));
  }
}

}  // namespace
}  // namespace octavo
