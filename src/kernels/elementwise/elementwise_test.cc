// SPDX-License-Identifier: Apache-2.0
// Element-wise operations against double precision, and equal bits across ISA levels.
#include "kernels/elementwise/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "base/float16.h"
#include "kernels/testing.h"

namespace octavo {
namespace {

using testing::RandomNormal;
using testing::RunnableIsaLevels;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Lengths around the 16 and 64 lane edges, and a hidden size.
constexpr int64_t kLengths[] = {1, 3, 15, 16, 17, 48, 63, 64, 65, 100, 576, 1537};

double RelativeError(double got, double want) {
  return std::abs(got - want) / std::max(std::abs(want), 1e-300);
}

// Every 64th float of both signs with a magnitude in [low, high], about a million numbers.
std::vector<float> DenseGrid(float low, float high) {
  std::vector<float> grid;
  for (uint32_t b = std::bit_cast<uint32_t>(low); b <= std::bit_cast<uint32_t>(high); b += 211) {
    grid.push_back(std::bit_cast<float>(b));
    grid.push_back(-std::bit_cast<float>(b));
  }
  return grid;
}

using Unary = void (*)(const float*, int64_t, float*);

double MaxRelativeError(Unary op, const std::vector<float>& x,
                        const std::function<double(double)>& exact) {
  std::vector<float> y(x.size());
  op(x.data(), static_cast<int64_t>(x.size()), y.data());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = exact(x[i]);
    if (std::abs(want) < 1e-37) continue;  // the last normal numbers; checked absolutely elsewhere
    worst = std::max(worst, RelativeError(y[i], want));
  }
  return worst;
}

// The bounds are those of docs/numerics.md: 2^-23 = 1.2e-7 is one unit in the last place, and each
// function adds exp's 2.3e-7 to two or three roundings of its own.
TEST(ElementwiseTest, ActivationsKeepRelativePrecision) {
  const ElementwiseOps& ops = ElementwiseOpsFor(DetectedIsa());
  const double kSqrt2 = std::sqrt(2.0);
  EXPECT_LT(MaxRelativeError(ops.silu, DenseGrid(1e-6f, 80.0f),
                             [](double x) { return x / (1 + std::exp(-x)); }),
            4e-7);
  EXPECT_LT(MaxRelativeError(ops.gelu_erf, DenseGrid(1e-6f, 9.0f),
                             [&](double x) { return 0.5 * x * std::erfc(-x / kSqrt2); }),
            8e-7);
  // The exponent 2u has a rounding error of 2^-24 |2u|, which e^2u turns into a relative one.
  const auto gelu_tanh = [](double x) {
    const double u = std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
    return x / (1 + std::exp(-2 * u));
  };
  EXPECT_LT(MaxRelativeError(ops.gelu_tanh, DenseGrid(1e-6f, 3.0f), gelu_tanh), 2e-6);
  EXPECT_LT(MaxRelativeError(ops.gelu_tanh, DenseGrid(3.0f, 9.0f), gelu_tanh), 2e-5);
}

TEST(ElementwiseTest, ActivationsSaturate) {
  const ElementwiseOps& ops = ElementwiseOpsFor(DetectedIsa());
  const float x[] = {-1e30f, -200.0f, -30.0f, 0.0f, 30.0f, 200.0f, 1e30f};
  for (const Unary op : {ops.silu, ops.gelu_tanh, ops.gelu_erf}) {
    float y[7];
    op(x, 7, y);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(y[i] / x[i], 0.0, 1e-12);
    EXPECT_EQ(y[3], 0.0f);
    for (int i = 4; i < 7; ++i) EXPECT_FLOAT_EQ(y[i], x[i]);
  }
}

TEST(ElementwiseTest, SoftcapKeepsRelativePrecision) {
  const std::vector<float> x = DenseGrid(1e-3f, 2000.0f);
  std::vector<float> y(x.size());
  ElementwiseOpsFor(DetectedIsa()).softcap(x.data(), 30.0f, static_cast<int64_t>(x.size()), y.data());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, RelativeError(y[i], 30.0 * std::tanh(x[i] / 30.0)));
  }
  EXPECT_LT(worst, 5e-7);  // tanh 2.5e-7 and two roundings of 0.6e-7
}

TEST(ElementwiseTest, NormsMatchDoublePrecision) {
  const ElementwiseOps& ops = ElementwiseOpsFor(DetectedIsa());
  for (const int64_t n : kLengths) {
    const std::vector<float> x = RandomNormal(n, 1, 3.0f), w = RandomNormal(n, 2);
    const std::vector<float> b = RandomNormal(n, 3);
    std::vector<float> rms(x.size()), gemma(x.size()), layer(x.size()), plain(x.size());
    ops.rms_norm(x.data(), w.data(), n, 1e-6f, 0.0f, rms.data());
    ops.rms_norm(x.data(), w.data(), n, 1e-6f, 1.0f, gemma.data());
    ops.layer_norm(x.data(), w.data(), b.data(), n, 1e-5f, layer.data());
    ops.layer_norm(x.data(), nullptr, nullptr, n, 1e-5f, plain.data());
    double squares = 0, mean = 0, variance = 0;
    for (const float v : x) squares += double{v} * v;
    for (const float v : x) mean += v;
    mean /= static_cast<double>(n);
    for (const float v : x) variance += (v - mean) * (v - mean);
    const double r = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-6);
    const double s = 1 / std::sqrt(variance / static_cast<double>(n) + 1e-5);
    for (size_t i = 0; i < x.size(); ++i) {
      // Five roundings and the sum's: below 2^-20 of the value; LayerNorm cancels |x| + |mean|.
      EXPECT_NEAR(rms[i], x[i] * r * w[i], 1e-6 * std::abs(x[i] * r * w[i]) + 1e-30);
      EXPECT_NEAR(gemma[i], x[i] * r * (1.0 + w[i]), 2e-6 * (std::abs(x[i] * r) + 1));
      const double tolerance = 1e-6 * (std::abs(x[i]) + std::abs(mean)) * s + 1e-7;
      EXPECT_NEAR(plain[i], (x[i] - mean) * s, tolerance);
      EXPECT_NEAR(layer[i], (x[i] - mean) * s * w[i] + b[i],
                  tolerance * (1 + std::abs(w[i])) + 1e-6 * std::abs(b[i]));
    }
  }
}

TEST(ElementwiseTest, RopeRotatesHalvesOfEachHead) {
  constexpr int kHeads = 3, kHeadDim = 80, kRotary = 20;  // partial rotation with an odd half
  std::vector<float> x = RandomNormal(kHeads * kHeadDim, 4);
  const std::vector<float> before = x;
  std::vector<float> cos(kRotary / 2), sin(kRotary / 2);
  for (int i = 0; i < kRotary / 2; ++i) {
    cos[i] = std::cos(0.3f * static_cast<float>(i + 1));
    sin[i] = std::sin(0.3f * static_cast<float>(i + 1));
  }
  ElementwiseOpsFor(DetectedIsa()).rope(x.data(), kHeads, kHeadDim, kRotary, cos.data(), sin.data());
  for (int head = 0; head < kHeads; ++head) {
    for (int i = 0; i < kHeadDim; ++i) {
      const float* h = &before[head * kHeadDim];
      const int half = kRotary / 2;
      float want = h[i];
      if (i < half) want = h[i] * cos[i] - h[i + half] * sin[i];
      if (i >= half && i < kRotary) want = h[i] * cos[i - half] + h[i - half] * sin[i - half];
      EXPECT_EQ(x[head * kHeadDim + i], want) << head << " " << i;
    }
  }
}

TEST(ElementwiseTest, ConversionsAreExactForEveryCode) {
  std::vector<uint16_t> codes;
  for (uint32_t c = 0; c < 0x10000; ++c) codes.push_back(static_cast<uint16_t>(c));
  for (const IsaLevel isa : RunnableIsaLevels()) {
    const ElementwiseOps& ops = ElementwiseOpsFor(isa);
    std::vector<float> bf16(codes.size()), f16(codes.size());
    ops.scale_bf16(codes.data(), 1.0f, 0x10000, bf16.data());
    ops.scale_f16(codes.data(), 1.0f, 0x10000, f16.data());
    for (size_t c = 0; c < codes.size(); ++c) {
      const float want_bf16 = Bf16ToF32(codes[c]), want_f16 = F16ToF32(codes[c]);
      ASSERT_TRUE(bf16[c] == want_bf16 || (std::isnan(bf16[c]) && std::isnan(want_bf16))) << c;
      ASSERT_TRUE(f16[c] == want_f16 || (std::isnan(f16[c]) && std::isnan(want_f16))) << c;
    }
  }
}

// Runs every operation on rows of length n; out has kOps rows of n + 16 floats, the last 16 NaN.
constexpr int kOps = 17;
std::vector<float> RunAll(const ElementwiseOps& ops, int64_t n) {
  const std::vector<float> a = RandomNormal(n, 5, 4.0f), b = RandomNormal(n, 6, 4.0f);
  std::vector<uint16_t> codes;
  for (const float v : a) codes.push_back(F32ToBf16(v));
  std::vector<float> out(static_cast<size_t>(kOps * (n + 16)), kNan);
  int row = 0;
  const auto next = [&] { return out.data() + (n + 16) * row++; };
  ops.rms_norm(a.data(), b.data(), n, 1e-5f, 0.0f, next());
  ops.rms_norm(a.data(), b.data(), n, 1e-5f, 1.0f, next());
  ops.layer_norm(a.data(), b.data(), a.data(), n, 1e-5f, next());
  ops.layer_norm(a.data(), nullptr, nullptr, n, 1e-5f, next());
  ops.silu_mul(a.data(), b.data(), n, next());
  ops.gelu_tanh_mul(a.data(), b.data(), n, next());
  ops.gelu_erf_mul(a.data(), b.data(), n, next());
  ops.silu(a.data(), n, next());
  ops.gelu_tanh(a.data(), n, next());
  ops.gelu_erf(a.data(), n, next());
  ops.relu(a.data(), n, next());
  ops.add(a.data(), b.data(), n, next());
  ops.softcap(a.data(), 3.0f, n, next());
  ops.scale_f32(a.data(), 1.7f, n, next());
  ops.scale_bf16(codes.data(), 1.7f, n, next());
  ops.scale_f16(codes.data(), 1.7f, n, next());
  float* rotated = next();
  std::copy(a.begin(), a.end(), rotated);
  if (n >= 2) ops.rope(rotated, 1, static_cast<int>(n), static_cast<int>(n / 2 * 2), a.data(), b.data());
  EXPECT_EQ(row, kOps);
  return out;
}

TEST(ElementwiseTest, LevelsGiveEqualBitsAndStayInsideTheRow) {
  for (const int64_t n : kLengths) {
    const std::vector<float> want = RunAll(ElementwiseOpsFor(IsaLevel::kReference), n);
    for (const IsaLevel isa : RunnableIsaLevels()) {
      const std::vector<float> got = RunAll(ElementwiseOpsFor(isa), n);
      for (size_t i = 0; i < want.size(); ++i) {
        const bool padding = static_cast<int64_t>(i) % (n + 16) >= n;
        ASSERT_EQ(std::isnan(got[i]), padding) << NameOf(isa) << " n " << n << " at " << i;
        if (padding) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
            << NameOf(isa) << " n " << n << " op " << static_cast<int64_t>(i) / (n + 16);
      }
    }
  }
}

TEST(ElementwiseTest, NanPropagates) {
  const float x[] = {1.0f, kNan, -2.0f};
  for (const IsaLevel isa : RunnableIsaLevels()) {
    const ElementwiseOps& ops = ElementwiseOpsFor(isa);
    for (const Unary op : {ops.silu, ops.gelu_tanh, ops.gelu_erf, ops.relu}) {
      float y[3];
      op(x, 3, y);
      EXPECT_TRUE(std::isnan(y[1])) << NameOf(isa);
      EXPECT_FALSE(std::isnan(y[0]) || std::isnan(y[2]));
    }
  }
}

}  // namespace
}  // namespace octavo
