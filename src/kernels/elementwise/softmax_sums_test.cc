// SPDX-License-Identifier: Apache-2.0
// Sums over the softmax of a row: against double precision, with equal bits on all ISA levels.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/testing.h"

namespace octavo {
namespace {

using testing::RandomNormal;
using testing::RunnableIsaLevels;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
// Lengths around the lane and block edges, and a vocabulary.
constexpr int64_t kLengths[] = {1, 3, 16, 17, 63, 64, 65, 4095, 4096, 4097, 32003};

double LogSum(const std::vector<float>& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const float v : x) sum += std::exp(v - largest);
  return largest + std::log(sum);
}

double ExactKl(const std::vector<float>& p, const std::vector<float>& q) {
  const double log_p = LogSum(p), log_q = LogSum(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double a = p[i] - log_p, b = q[i] - log_q;
    sum += std::exp(a) * (a - b + std::expm1(b - a));
  }
  return sum;
}

double Kl(const ElementwiseOps& ops, const std::vector<float>& p, const std::vector<float>& q) {
  return ops.kl_divergence(p.data(), LogSum(p), q.data(), LogSum(q), std::ssize(p));
}

// A row and the same with noise of a size.
struct Pair {
  Pair(int64_t n, float noise) : p(RandomNormal(n, 11, 4.0f)), q(RandomNormal(n, 12, noise)) {
    for (size_t i = 0; i < p.size(); ++i) q[i] += p[i];
  }
  std::vector<float> p, q;
};

TEST(SoftmaxSumsTest, EqualDoublePrecision) {
  const ElementwiseOps& ops = ElementwiseOpsFor(DetectedIsa());
  for (const int64_t n : kLengths) {
    const std::vector<float> x = RandomNormal(n, 3, 4.0f);
    const float largest = ops.max(x.data(), n);
    EXPECT_EQ(largest, *std::max_element(x.begin(), x.end()));
    const double want = std::exp(LogSum(x) - static_cast<double>(largest));
    EXPECT_NEAR(ops.sum_exp(x.data(), largest, n) / want, 1, 2e-6) << n;
  }
}

TEST(SoftmaxSumsTest, DotProductsKeepF32Precision) {
  for (const IsaLevel isa : RunnableIsaLevels()) {
    for (const int64_t n : kLengths) {
      const std::vector<float> x = RandomNormal(n, 21, 1.0f), y = RandomNormal(n, 22, 1.0f);
      double want = 0, size = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double product = static_cast<double>(x[i]) * static_cast<double>(y[i]);
        want += product;
        size += std::abs(product);
      }
      EXPECT_NEAR(ElementwiseOpsFor(isa).dot(x.data(), y.data(), n), want, 1e-6 * size) << NameOf(isa) << " n " << n;
    }
  }
}

TEST(SoftmaxSumsTest, CutsLeaveOutWhatIsBelow) {
  for (const IsaLevel isa : RunnableIsaLevels()) {
    const ElementwiseOps& ops = ElementwiseOpsFor(isa);
    for (const int64_t n : kLengths) {
      std::vector<float> x = RandomNormal(n, 5, 4.0f);
      x[0] = 12.0f;
      if (n > 3) x[1] = kNan, x[2] = -kInf, x[3] = -100.0f;
      for (const float cut : {-kInf, -2.0f, 12.0f, 13.0f}) {
        double want = 0;
        int64_t greater = 0;
        for (const float v : x) {
          if (v >= cut && v > -75.0f) want += std::exp(static_cast<double>(v) - 12.0);
          greater += v > cut ? 1 : 0;
        }
        const double have = ops.sum_exp_from(x.data(), 12.0f, cut, n);
        EXPECT_NEAR(have, want, 2e-6 * want) << NameOf(isa) << " n " << n << " cut " << cut;
        EXPECT_EQ(ops.count_greater(x.data(), cut, n), greater) << NameOf(isa) << " n " << n << " cut " << cut;
      }
    }
  }
}

// Noise of 1e-3 gives divergences near 5e-7: the sum must not drown in the rounding of its terms. What is left is
// the noise's own rounding where logits are stored, 2^-20 of values near 16.
TEST(SoftmaxSumsTest, DivergenceKeepsItsPrecisionNearZero) {
  const ElementwiseOps& ops = ElementwiseOpsFor(DetectedIsa());
  for (const float noise : {1e-3f, 0.03f, 0.4f, 3.0f, 30.0f}) {
    for (const int64_t n : kLengths) {
      if (n == 1) continue;
      const Pair pair(n, noise);
      const double want = ExactKl(pair.p, pair.q);
      EXPECT_NEAR(Kl(ops, pair.p, pair.q) / want, 1, 2e-5) << "noise " << noise << " n " << n << " KL " << want;
    }
  }
  const Pair same(5000, 0.0f);
  EXPECT_EQ(Kl(ops, same.p, same.p), 0.0);
}

TEST(SoftmaxSumsTest, LevelsGiveEqualBits) {
  for (const int64_t n : kLengths) {
    const Pair pair(n, 0.7f);
    const ElementwiseOps& reference = ElementwiseOpsFor(IsaLevel::kReference);
    for (const IsaLevel isa : RunnableIsaLevels()) {
      const ElementwiseOps& ops = ElementwiseOpsFor(isa);
      EXPECT_EQ(ops.max(pair.p.data(), n), reference.max(pair.p.data(), n)) << NameOf(isa);
      EXPECT_EQ(std::bit_cast<uint64_t>(ops.sum_exp(pair.p.data(), 20.0f, n)),
                std::bit_cast<uint64_t>(reference.sum_exp(pair.p.data(), 20.0f, n)))
          << NameOf(isa) << " n " << n;
      EXPECT_EQ(std::bit_cast<uint64_t>(ops.sum_exp_from(pair.p.data(), 20.0f, -1.0f, n)),
                std::bit_cast<uint64_t>(reference.sum_exp_from(pair.p.data(), 20.0f, -1.0f, n)))
          << NameOf(isa) << " n " << n;
      EXPECT_EQ(std::bit_cast<uint64_t>(ops.dot(pair.p.data(), pair.q.data(), n)),
                std::bit_cast<uint64_t>(reference.dot(pair.p.data(), pair.q.data(), n)))
          << NameOf(isa) << " n " << n;
      EXPECT_EQ(std::bit_cast<uint64_t>(Kl(ops, pair.p, pair.q)),
                std::bit_cast<uint64_t>(Kl(reference, pair.p, pair.q)))
          << NameOf(isa) << " n " << n;
    }
  }
}

TEST(SoftmaxSumsTest, InfinitiesAndNansShow) {
  for (const IsaLevel isa : RunnableIsaLevels()) {
    const ElementwiseOps& ops = ElementwiseOpsFor(isa);
    const std::vector<float> mixed = {kNan, -kInf, 2.0f, kNan};
    EXPECT_EQ(ops.max(mixed.data(), 4), 2.0f) << NameOf(isa);
    EXPECT_EQ(ops.max(mixed.data(), 2), -kInf) << NameOf(isa);
    EXPECT_TRUE(std::isnan(ops.sum_exp(mixed.data(), 2.0f, 4))) << NameOf(isa);
    // What P leaves out costs nothing, what Q leaves out everything.
    const std::vector<float> even = {0.0f, 0.0f}, first = {0.0f, -kInf};
    EXPECT_NEAR(ops.kl_divergence(first.data(), 0.0, even.data(), std::log(2.0), 2), std::log(2.0), 1e-6)
        << NameOf(isa);
    EXPECT_EQ(ops.kl_divergence(even.data(), std::log(2.0), first.data(), 0.0, 2), kInf) << NameOf(isa);
    EXPECT_EQ(ops.kl_divergence(first.data(), 0.0, first.data(), 0.0, 2), 0.0) << NameOf(isa);
  }
}

}  // namespace
}  // namespace octavo
