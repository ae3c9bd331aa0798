// SPDX-License-Identifier: Apache-2.0
#include "quantizers/bit_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "quantizers/quantize_recipe.h"

namespace octavo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Units of 100 weights; kl[unit][candidate] for candidates of 3, 4, 8 and 16 bits.
Sensitivity Make(const std::vector<std::vector<double>>& kl, double weights = 100) {
  Sensitivity sensitivity;
  sensitivity.candidates = {"W3A16", "W4A16", "W8A16", "dense"};
  sensitivity.group_sizes = {128, 128, 64, 0};
  for (size_t i = 0; i < kl.size(); ++i) {
    SensitivityUnit& unit = sensitivity.units.emplace_back();
    unit.name = "unit" + std::to_string(i);
    unit.modules = {unit.name + ".a", unit.name + ".b"};
    unit.weights = weights;
    unit.bits = {3 * weights, 4 * weights, 8 * weights, 16 * weights};
    unit.error = kl[i];
    unit.kl = kl[i];
  }
  sensitivity.num_tokens = 1;
  sensitivity.source = "test";
  sensitivity.fingerprint = "f";
  return sensitivity;
}

TEST(BitBudgetTest, GivesBitsToThePartsThatMindMost) {
  const Sensitivity sensitivity =
      Make({{0.1, 0.02, 0.001, 0}, {1.0, 0.2, 0.01, 0}, {0.1, 0.02, 0.001, 0}, {0.1, 0.02, 0.001, 0}});
  const BitBudget budget(sensitivity);
  auto point = budget.ForBits(5.0);
  ASSERT_TRUE(point.ok()) << point.status().ToString();
  EXPECT_THAT(point->choice, ElementsAre(1, 2, 1, 1));
  EXPECT_DOUBLE_EQ(point->bits_per_weight, 5.0);
  EXPECT_NEAR(point->kl, 0.07, 1e-12);
  // A budget exactly at a scheme's size gives no worse than that scheme.
  auto four = budget.ForBits(4.0);
  ASSERT_TRUE(four.ok());
  EXPECT_LE(four->kl, budget.Uniform(1).kl);
  EXPECT_LE(four->bits_per_weight, 4.0 + 1e-9);
}

TEST(BitBudgetTest, FrontierFallsAndIsConvex) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform(0.5, 4);
  std::vector<std::vector<double>> kl;
  for (int i = 0; i < 40; ++i) {
    const double scale = std::pow(10.0, -uniform(random));
    kl.push_back({scale, scale / (2 + uniform(random)), scale / 300, 0});
  }
  const Sensitivity sensitivity = Make(kl);
  const BitBudget budget(sensitivity);
  ASSERT_EQ(budget.size(), 121u);  // every candidate is on every hull
  double slope = std::numeric_limits<double>::infinity();
  for (size_t i = 1; i < budget.size(); ++i) {
    const BudgetPoint a = budget.At(i - 1);
    const BudgetPoint b = budget.At(i);
    ASSERT_GT(b.bits_per_weight, a.bits_per_weight);
    ASSERT_LT(b.kl, a.kl);
    const double next = (a.kl - b.kl) / (b.bits_per_weight - a.bits_per_weight);
    ASSERT_LE(next, slope * (1 + 1e-6));
    slope = next;
  }
  EXPECT_EQ(budget.At(0).choice, budget.Uniform(0).choice);
  EXPECT_EQ(budget.At(budget.size() - 1).choice, budget.Uniform(3).choice);
}

// Against all choices of a few small parts of several sizes.
TEST(BitBudgetTest, IsOptimalOnTheFrontierAndNearElsewhere) {
  std::mt19937 random(9);
  std::uniform_real_distribution<double> uniform(0.1, 3);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<double>> kl;
    for (int i = 0; i < 5; ++i) {
      const double scale = std::pow(10.0, -uniform(random));
      kl.push_back({scale, scale * 0.3 * uniform(random), scale * 0.01 * uniform(random), 0});
    }
    Sensitivity sensitivity = Make(kl);
    const BitBudget budget(sensitivity);
    const auto best_at = [&](double bits) {
      double best = std::numeric_limits<double>::infinity();
      for (int code = 0; code < 1024; ++code) {
        double sum = 0;
        double total = 0;
        for (int i = 0, rest = code; i < 5; ++i, rest /= 4) {
          const SensitivityUnit& unit = sensitivity.units[static_cast<size_t>(i)];
          sum += unit.bits[static_cast<size_t>(rest % 4)];
          total += unit.kl[static_cast<size_t>(rest % 4)];
        }
        if (sum <= bits * sensitivity.weights() * (1 + 1e-9)) best = std::min(best, total);
      }
      return best;
    };
    for (size_t i = 0; i < budget.size(); ++i) {
      const BudgetPoint point = budget.At(i);
      EXPECT_NEAR(point.kl, best_at(point.bits_per_weight), 1e-9);
      auto same = budget.ForBits(point.bits_per_weight);
      ASSERT_TRUE(same.ok());
      EXPECT_LE(same->kl, point.kl + 1e-9);
    }
    for (const double bits : {3.5, 4.5, 6.0, 9.0}) {
      auto point = budget.ForBits(bits);
      ASSERT_TRUE(point.ok());
      EXPECT_LE(point->bits_per_weight, bits + 1e-9);
      EXPECT_GE(point->kl, best_at(bits) - 1e-9);
    }
  }
}

TEST(BitBudgetTest, SkipsCandidatesThatAreWorseAndLarger) {
  // 4 bits are worse than 3 here (noise of a short text), and 8 lie above the line from 3 to 16.
  const Sensitivity sensitivity = Make({{0.1, 0.2, 0.09, 0}});
  const BitBudget budget(sensitivity);
  ASSERT_EQ(budget.size(), 2u);
  EXPECT_THAT(budget.At(1).choice, ElementsAre(3));
  EXPECT_THAT(budget.ForBits(8.0)->choice, ElementsAre(0));
}

TEST(BitBudgetTest, KeepsAQualityWithFewBits) {
  const Sensitivity sensitivity = Make({{0.1, 0.02, 0.001, 0}, {1.0, 0.2, 0.01, 0}});
  const BitBudget budget(sensitivity);
  auto point = budget.ForKl(0.05);
  ASSERT_TRUE(point.ok());
  EXPECT_THAT(point->choice, ElementsAre(1, 2));
  EXPECT_LE(point->kl, 0.05);
  EXPECT_THAT(budget.ForBits(2.5).status().message(), HasSubstr("has 3.000"));
  Sensitivity coarse = Make({{0.1, 0.02, 0.01, 0.01}});
  EXPECT_THAT(BitBudget(coarse).ForKl(0.001).status().message(), HasSubstr("0.01"));
}

TEST(BitBudgetTest, MakesARecipe) {
  const Sensitivity sensitivity = Make({{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}});
  RecipeGroup settings;
  settings.algorithm = "gptq";
  settings.gptq.damping = 0.5;
  const QuantizeRecipe recipe = RecipeOf(sensitivity, {.choice = {1, 2, 1, 3}}, settings);
  ASSERT_EQ(recipe.groups.size(), 2u);
  EXPECT_EQ(recipe.groups[0].scheme, "W4A16");
  EXPECT_EQ(recipe.groups[0].group_size, 128);
  EXPECT_EQ(recipe.groups[0].algorithm, "gptq");
  EXPECT_EQ(recipe.groups[0].gptq.damping, 0.5);
  EXPECT_THAT(recipe.groups[0].targets, ElementsAre("unit0.a", "unit0.b", "unit2.a", "unit2.b"));
  EXPECT_EQ(recipe.groups[1].scheme, "W8A16");
  EXPECT_EQ(recipe.groups[1].group_size, 64);
  settings.algorithm = "smoothquant";  // W4A16 and W8A16 have no 8-bit activations
  EXPECT_EQ(RecipeOf(sensitivity, {.choice = {1, 2, 1, 3}}, settings).groups[0].algorithm, "rtn");
}

TEST(SensitivityJsonTest, ReadsBackAndRefusesDamage) {
  const Json json = ToJson(Make({{0.1, 0.02, 0.001, 0}, {1.0, 0.2, 0.01, 0}}));
  auto read = ParseSensitivity(json);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(ToJson(*read), json);
  const auto refuses = [&](const std::function<void(Json&)>& damage) {
    Json damaged = json;
    damage(damaged);
    EXPECT_FALSE(ParseSensitivity(damaged).ok()) << DumpJson(damaged);
  };
  refuses([](Json& j) { j.erase("candidates"); });
  refuses([](Json& j) { j["units"] = Json::array(); });
  refuses([](Json& j) { j["units"][0]["kl"].push_back(1); });
  refuses([](Json& j) { j["units"][0]["bits"][1] = -1; });
  refuses([](Json& j) { j["units"][1]["kl"][0] = nullptr; });
  refuses([](Json& j) { j["units"][1]["modules"] = "x"; });
  refuses([](Json& j) { j["group_sizes"] = {1}; });
  refuses([](Json& j) { j = Json::array(); });
}

}  // namespace
}  // namespace octavo
