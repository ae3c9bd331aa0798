// SPDX-License-Identifier: Apache-2.0
// The parts of `octavo bench serve` that need no server.
#include <gtest/gtest.h>

#include "cli/bench_serve_client.h"
#include "cli/bench_serve_data.h"
#include "cli/bench_serve_report.h"

namespace octavo {
namespace {

TEST(BenchServeTest, PercentilesInterpolateAsNumPys) {
  EXPECT_EQ(Percentile({}, 50), 0);
  EXPECT_EQ(Percentile({7}, 99), 7);
  EXPECT_DOUBLE_EQ(Percentile({4, 1, 3, 2}, 50), 2.5);
  EXPECT_DOUBLE_EQ(Percentile({0, 10}, 95), 9.5);
  EXPECT_EQ(Percentile({3, 1, 2}, 100), 3);
}

TEST(BenchServeTest, ReportsTimePerOutputTokenWithoutTheFirst) {
  BenchRun run;
  run.duration_s = 2;
  BenchOutcome outcome;
  outcome.ok = true;
  outcome.ttft_s = 0.5;
  outcome.latency_s = 1.5;
  outcome.itl_s = {0.25, 0.25, 0.25, 0.25};
  outcome.prompt_tokens = 10;
  outcome.output_tokens = 5;
  BenchOutcome failed;
  failed.error = "status 429";
  run.outcomes = {outcome, failed};
  const Json report = BenchServeReport(run);
  EXPECT_EQ(report["completed"], 1);
  EXPECT_EQ(report["failed"], 1);
  EXPECT_DOUBLE_EQ(report["mean_tpot_ms"].get<double>(), 250);
  EXPECT_DOUBLE_EQ(report["p99_itl_ms"].get<double>(), 250);
  EXPECT_DOUBLE_EQ(report["output_throughput"].get<double>(), 2.5);
  EXPECT_EQ(report["errors"][0], "status 429");
  EXPECT_NE(FormatBenchServeReport(report).find("1 failed"), std::string::npos);
}

TEST(BenchServeTest, RemovesChunkFramingInPiecesOfAnySize) {
  const std::string framed = "5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\n\r\n";
  for (size_t step = 1; step <= framed.size(); ++step) {
    Dechunker dechunker;
    std::string out;
    for (size_t i = 0; i < framed.size(); i += step) {
      ASSERT_TRUE(dechunker.Push(std::string_view(framed).substr(i, step), out));
    }
    EXPECT_EQ(out, "hello!");
    EXPECT_TRUE(dechunker.done());
  }
  Dechunker dechunker;
  std::string out;
  EXPECT_FALSE(dechunker.Push("zz\r\n", out));
}

TEST(BenchServeTest, ReadsUrls) {
  const auto target = ParseBenchUrl("http://[::1]:81/prefix/");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->host, "::1");
  EXPECT_EQ(target->port, "81");
  EXPECT_EQ(target->base_path, "/prefix");
  EXPECT_EQ(ParseBenchUrl("http://host")->port, "80");
  EXPECT_FALSE(ParseBenchUrl("https://host").ok());
  EXPECT_FALSE(ParseBenchUrl("http://").ok());
}

TEST(BenchServeTest, MakesTheSameRequestsForTheSameSeed) {
  BenchDataOptions options;
  options.vocab_size = 1000;
  options.num_prompts = 20;
  options.input_len = 32;
  options.range_ratio = 0.5;
  options.dataset = "prefix_repetition";
  options.num_prefixes = 2;
  const auto bodies = MakeBenchBodies(options);
  ASSERT_TRUE(bodies.ok());
  EXPECT_EQ(*bodies, *MakeBenchBodies(options));
  const Json first = ParseJson((*bodies)[0]).value();
  const Json third = ParseJson((*bodies)[2]).value();
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(first["prompt"][i], third["prompt"][i]);
  EXPECT_NE(first["prompt"][256], third["prompt"][256]);
  EXPECT_GE(first["prompt"].size(), 256U + 16U);
  EXPECT_LE(first["prompt"].size(), 256U + 48U);
  options.vocab_size = 0;
  EXPECT_FALSE(MakeBenchBodies(options).ok());
}

}  // namespace
}  // namespace octavo
