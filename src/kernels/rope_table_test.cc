// SPDX-License-Identifier: Apache-2.0
// Rope tables against the formulas, and against angles computed by transformers.
#include "kernels/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace octavo {
namespace {

RopeTable Make(const RopeConfig& config, int64_t max_model_len) {
  Result<RopeTable> table = RopeTable::Create(config, max_model_len);
  EXPECT_TRUE(table.ok()) << table.status().ToString();
  table.value().Extend(max_model_len);
  return std::move(table).value();
}

TEST(RopeTableTest, DefaultFrequencies) {
  const RopeTable table = Make({.theta = 10000, .rotary_dim = 8}, 5000);
  const float want[] = {1.0f, 0.1f, 0.01f, 0.001f};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(table.inv_freq()[i], want[i]);
    const float angle = 4999.0f * table.inv_freq()[i];
    EXPECT_NEAR(table.Cos(4999)[i], std::cos(double{angle}), 1e-7);
    EXPECT_NEAR(table.Sin(4999)[i], std::sin(double{angle}), 1e-7);
  }
  EXPECT_EQ(table.Cos(0)[0], 1.0f);
  EXPECT_EQ(table.Sin(0)[0], 0.0f);
}

TEST(RopeTableTest, LinearDividesFrequencies) {
  const RopeTable table = Make({.type = RopeType::kLinear, .rotary_dim = 8, .factor = 4}, 16);
  EXPECT_FLOAT_EQ(table.inv_freq()[1], 0.025f);
}

// Llama-3.2-1B: some of its 32 frequencies as transformers 4 computes them.
TEST(RopeTableTest, Llama3MatchesTransformers) {
  const RopeTable table = Make({.type = RopeType::kLlama3, .theta = 500000, .rotary_dim = 64,
                                .factor = 32, .low_freq_factor = 1, .high_freq_factor = 4,
                                .original_max_position_embeddings = 8192}, 16);
  const struct {
    size_t i;
    float want;
  } cases[] = {{0, 1.0f},           {10, 1.65604409e-2f}, {13, 4.83942125e-3f},
               {14, 3.21144611e-3f}, {15, 1.29054801e-3f}, {16, 4.29556705e-4f},
               {17, 9.70828623e-5f}, {20, 8.57025589e-6f}, {31, 9.41830649e-8f}};
  for (const auto& c : cases) EXPECT_NEAR(table.inv_freq()[c.i] / c.want, 1.0, 3e-7) << c.i;
}

TEST(RopeTableTest, LongropeChoosesByModelLength) {
  const RopeConfig config{.type = RopeType::kLongrope, .rotary_dim = 4,
                          .original_max_position_embeddings = 4096,
                          .max_position_embeddings = 131072, .short_factor = {1.0, 2.0},
                          .long_factor = {4.0, 8.0}};
  const RopeTable small = Make(config, 4096), large = Make(config, 4097);
  EXPECT_FLOAT_EQ(small.inv_freq()[0], 1.0f);
  EXPECT_FLOAT_EQ(small.inv_freq()[1], 0.01f / 2);
  EXPECT_FLOAT_EQ(large.inv_freq()[0], 0.25f);
  EXPECT_FLOAT_EQ(large.inv_freq()[1], 0.01f / 8);
  // sqrt(1 + ln(32) / ln(4096)), Phi-3's 1.1902.
  EXPECT_FLOAT_EQ(large.attention_scaling(), 1.1902381f);
  EXPECT_FLOAT_EQ(large.Cos(0)[0], 1.1902381f);
}

TEST(RopeTableTest, ExtendMakesRowsOnce) {
  RopeTable table = std::move(RopeTable::Create({.rotary_dim = 8}, 100)).value();
  table.Extend(10);
  const float* row = table.Cos(9);
  const float before = row[3];
  table.Extend(1000);  // limited to the table's positions
  EXPECT_EQ(table.Cos(9), row);
  EXPECT_EQ(row[3], before);
  EXPECT_FLOAT_EQ(table.Cos(99)[0], std::cos(99.0f));
}

TEST(RopeTableTest, RejectsBadParameters) {
  const auto fails = [](const RopeConfig& config, int64_t length = 16) {
    return !RopeTable::Create(config, length).ok();
  };
  EXPECT_TRUE(fails({.rotary_dim = 0}));
  EXPECT_TRUE(fails({.rotary_dim = 7}));
  EXPECT_TRUE(fails({.rotary_dim = 8}, 0));
  EXPECT_TRUE(fails({.theta = std::nan(""), .rotary_dim = 8}));
  EXPECT_TRUE(fails({.type = RopeType::kLinear, .rotary_dim = 8, .factor = 0}));
  EXPECT_TRUE(fails({.type = RopeType::kLlama3, .rotary_dim = 8, .factor = 8}));
  EXPECT_TRUE(fails({.type = RopeType::kLongrope, .rotary_dim = 8,
                     .original_max_position_embeddings = 10, .short_factor = {1},
                     .long_factor = {1, 1, 1, 1}}));
}

}  // namespace
}  // namespace octavo
