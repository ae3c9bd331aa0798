// SPDX-License-Identifier: Apache-2.0
// Every kernel of the build against the numerics of gemm.h, bit for bit: the reference kernel against a
// scalar oracle, all others against the reference (AMX on bf16: against an oracle in its own order).
#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>
#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include "kernels/gemm/gemm_test_util.h"

namespace octavo {
namespace {

using testing::Describe;
using testing::Packed;
using testing::RandomActivations;
using testing::RandomWeights;

constexpr ActivationFormat kFormats[] = {ActivationFormat::kF32, ActivationFormat::kBf16,
                                         ActivationFormat::kInt8, ActivationFormat::kFp8,
                                         ActivationFormat::kFp8Group128, ActivationFormat::kInt8Group32};

WeightSpec Spec(CodeType code, int bits, ScaleLayout scales, int group, bool has_min, int64_t n, int64_t k) {
  WeightSpec w{code, bits, scales, group, has_min, n, k};
  return w;
}

// All formats at one shape; groups larger than k mean one group.
std::vector<WeightSpec> Formats(int64_t n, int64_t k) {
  std::vector<WeightSpec> all;
  const auto add = [&](CodeType code, int bits, ScaleLayout scales, int group, bool has_min) {
    all.push_back(Spec(code, bits, scales, group, has_min, n, k));
  };
  add(CodeType::kF32, 32, ScaleLayout::kNone, 0, false);
  add(CodeType::kF16, 16, ScaleLayout::kNone, 0, false);
  add(CodeType::kBf16, 16, ScaleLayout::kNone, 0, false);
  add(CodeType::kBf16, 16, ScaleLayout::kChannel, 0, false);
  for (CodeType code : {CodeType::kE4M3, CodeType::kE5M2}) {
    add(code, 8, ScaleLayout::kNone, 0, false);
    add(code, 8, ScaleLayout::kChannel, 0, false);
    add(code, 8, ScaleLayout::kGroup, 128, false);
  }
  for (int bits : {8, 4, 3}) {
    add(CodeType::kInt, bits, ScaleLayout::kChannel, 0, false);
    for (int group : {32, 128}) {
      for (bool has_min : {false, true}) add(CodeType::kInt, bits, ScaleLayout::kGroup, group, has_min);
    }
    add(CodeType::kInt, bits, ScaleLayout::kGroup, static_cast<int>(k), true);
  }
  for (int group : {32, 128}) add(CodeType::kInt, 4, ScaleLayout::kTwoLevel, group, false);
  add(CodeType::kInt, 8, ScaleLayout::kGroup, 16, false);
  // The same scales in narrower types: as in GGUF's and compressed-tensors' files.
  for (ScaleType type : {ScaleType::kF16, ScaleType::kBf16, ScaleType::kF16TimesI8}) {
    for (int bits : {8, 4}) {
      for (bool has_min : {false, true}) {
        add(CodeType::kInt, bits, ScaleLayout::kGroup, bits == 8 && !has_min ? 16 : 32, has_min);
        all.back().scale_type = type;
        if (type == ScaleType::kF16TimesI8) all.back().super_group = 3;
      }
    }
  }
  add(CodeType::kE4M3, 8, ScaleLayout::kGroup, 64, false);
  all.back().scale_type = ScaleType::kBf16;
  return all;
}

float CodeValue(const WeightSpec& w, const WeightRows& rows, int64_t n, int64_t k) {
  const auto i = static_cast<size_t>(n * w.k + k);
  const uint8_t* codes = rows.codes.data();
  const auto load = [&](auto zero) {
    std::memcpy(&zero, codes + i * sizeof zero, sizeof zero);
    return zero;
  };
  switch (w.code) {
    case CodeType::kF32: return load(0.0f);
    case CodeType::kF16: return F16ToF32(load(uint16_t{0}));
    case CodeType::kBf16: return Bf16ToF32(load(uint16_t{0}));
    case CodeType::kE4M3: return E4M3ToF32(codes[i]);
    case CodeType::kE5M2: return E5M2ToF32(codes[i]);
    case CodeType::kInt: break;
  }
  const bool is_unsigned = w.has_min || w.scales == ScaleLayout::kTwoLevel;
  return static_cast<float>(is_unsigned ? int{codes[i]} : int{static_cast<int8_t>(codes[i])});
}

// Sum over k in [begin, end) of one output, in the chain order of the format.
float Chain(const ActivationView& x, int64_t m, const std::vector<float>& w, int64_t begin, int64_t end,
            bool amx) {
  const auto weight = [&](int64_t k) { return k < end ? w[static_cast<size_t>(k)] : 0.0f; };
  float acc = 0.0f;
  if (x.spec.format == ActivationFormat::kF32) {
    for (int64_t k = begin; k < end; ++k) acc = std::fma(x.Row<float>(m)[k], weight(k), acc);
    return acc;
  }
  const auto* row = x.Row<uint16_t>(m);
  if (!amx) {
    for (int64_t k = begin; k < begin + (end - begin + 7) / 8 * 8; k += 2) {
      acc = std::fma(Bf16ToF32(row[k + 1]), weight(k + 1), acc);
      acc = std::fma(Bf16ToF32(row[k]), weight(k), acc);
    }
    return acc;
  }
  for (int64_t block = begin; block < end; block += 32) {
    float even = 0.0f, odd = 0.0f;
    for (int64_t k = block; k < std::min(block + 32, end); k += 2) {
      even = std::fma(Bf16ToF32(row[k]), weight(k), even);
      odd = std::fma(k + 1 < end ? Bf16ToF32(row[k + 1]) : 0.0f, weight(k + 1), odd);
    }
    acc += even + odd;
  }
  return acc;
}

float IntDot(const ActivationView& x, int64_t m, const std::vector<float>& w, int64_t begin, int64_t end,
             int64_t zero, int64_t scale) {
  int64_t dot = 0;
  for (int64_t k = begin; k < end; ++k) {
    dot += x.Row<int8_t>(m)[k] * (static_cast<int64_t>(w[static_cast<size_t>(k)]) - zero) * scale;
  }
  return static_cast<float>(dot);
}

// One output as docs/numerics.md defines it. Runs with denormals flushed where the format asks for it.
float Oracle(const WeightSpec& w, const WeightRows& rows, const ActivationView& x, int64_t m, int64_t n,
             const float* bias, bool amx) {
  const bool is_int = IsInt8(x.spec.format);
  const bool group32 = x.spec.format == ActivationFormat::kInt8Group32;
  const bool group128 = x.spec.format == ActivationFormat::kFp8Group128;
  const bool two_level = w.scales == ScaleLayout::kTwoLevel;
  const bool groups = w.scales == ScaleLayout::kGroup;
  std::vector<float> values(static_cast<size_t>(w.k));
  for (int64_t k = 0; k < w.k; ++k) values[static_cast<size_t>(k)] = CodeValue(w, rows, n, k);
  const int64_t size = groups || two_level ? w.group_size : (group128 ? 128 : w.k);
  float acc = 0.0f;
  int64_t total = 0;
  for (int64_t begin = 0, g = 0; begin < w.k; begin += size, ++g) {
    const int64_t end = std::min(begin + size, w.k);
    const auto at = static_cast<size_t>(n * w.groups() + g);
    if (two_level) {
      total += static_cast<int64_t>(IntDot(x, m, values, begin, end, rows.zeros2[at], rows.scales2[at]));
      acc = static_cast<float>(total);
      continue;
    }
    const float partial = is_int ? IntDot(x, m, values, begin, end, 0, 1)
                                 : Chain(x, m, values, begin, end, amx);
    if (!groups && !group128) {
      acc = partial;
      break;
    }
    float scale = groups ? rows.scales[at] : 1.0f;
    if (group128) scale = x.scales[m * x.scales_per_row() + g] * scale;
    const float token_scale = group32 ? x.scales[m * x.scales_per_row() + begin / 32] : 1.0f;
    if (group32) scale = token_scale * scale;
    acc = std::fma(partial, scale, acc);
    if (w.has_min) {
      const float sum = is_int ? token_scale * static_cast<float>(x.group_sums[m * x.sum_groups() + g])
                               : x.group_sums_f32[m * x.sum_groups() + g];
      acc = std::fma(sum, rows.mins[at], acc);
    }
  }
  if (x.scales_per_row() == 1 && !group128 && !group32 && x.scales != nullptr) acc *= x.scales[m];
  if (two_level || w.scales == ScaleLayout::kChannel) acc *= rows.scales[static_cast<size_t>(n)];
  return bias != nullptr ? acc + bias[n] : acc;
}

bool Flushes(ActivationFormat format) {
  return format != ActivationFormat::kF32 && !IsInt8(format);
}

using Matrix = std::vector<float>;  // [rows][stride]

constexpr int64_t kGap = 3;  // columns beyond n that nobody may write
constexpr float kCanary = 12345.0f;

Matrix OracleMatrix(const WeightSpec& w, const WeightRows& rows, const ActivationView& x,
                    const float* bias, bool accumulate, bool amx) {
  const int64_t stride = w.n + kGap;
  Matrix y(static_cast<size_t>(x.rows * stride), kCanary);
  const unsigned mode = _mm_getcsr();
  if (Flushes(x.spec.format)) _mm_setcsr(mode | 0x8040u);
  for (int64_t m = 0; m < x.rows; ++m) {
    for (int64_t n = 0; n < w.n; ++n) {
      float& out = y[static_cast<size_t>(m * stride + n)];
      const float v = Oracle(w, rows, x, m, n, bias, amx);
      out = accumulate ? out + v : v;
    }
  }
  _mm_setcsr(mode);
  return y;
}

Matrix Multiply(const GemmKernel& kernel, const WeightSpec& w, const Packed& packed, const ActivationView& x,
           const float* bias, bool accumulate) {
  const int64_t stride = w.n + kGap;
  Matrix y(static_cast<size_t>(x.rows * stride), kCanary);
  GemmCall call;
  call.x = x;
  call.weight = &w;
  call.packed = packed.memory.data();
  call.y = {y.data(), stride, bias, accumulate};
  const unsigned mode = _mm_getcsr();
  const int64_t half = packed.panels / 2;
  kernel.run(call, half, packed.panels);
  kernel.run(call, 0, half);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, mode & ~0x3fu) << kernel.name << " leaves MXCSR changed";
  return y;
}

// The first output whose bits differ, as text; empty when equal.
std::string Difference(const Matrix& want, const Matrix& got, int64_t stride) {
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::bit_cast<uint32_t>(want[i]) == std::bit_cast<uint32_t>(got[i])) continue;
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    const auto s = static_cast<size_t>(stride);
    return "y[" + std::to_string(i / s) + "][" + std::to_string(i % s) + "] = " + std::to_string(got[i]) +
           ", want " + std::to_string(want[i]);
  }
  return "";
}

const GemmKernel& Reference() {
  for (const GemmKernel* kernel : AllGemmKernels()) {
    if (kernel->isa == IsaLevel::kReference) return *kernel;
  }
  std::abort();
}

struct Shape {
  int64_t n, k;
};

constexpr Shape kShapes[] = {{1, 32}, {16, 128}, {33, 96}, {65, 256}, {100, 136}, {31, 37}, {7, 5}, {40, 576}};

TEST(GemmReferenceTest, EqualsTheScalarOracle) {
  for (const Shape shape : {Shape{7, 5}, Shape{33, 96}, Shape{17, 136}}) {
    for (const WeightSpec& w : Formats(shape.n, shape.k)) {
      for (ActivationFormat format : kFormats) {
        if (!IsLegalPair(w, format)) continue;
        SCOPED_TRACE(Describe(w, format));
        for (float magnitude : {1.0f, 0x1p-70f}) {  // the second makes denormal products and sums
          const WeightRows rows = RandomWeights(w, 1, magnitude);
          const ActivationBuffer x = RandomActivations(RequiredActivation(w, format), 9, w.k, 2, magnitude);
          const Packed packed(Reference(), w, rows);
          const std::vector<float> bias(static_cast<size_t>(w.n), 0.25f);
          EXPECT_EQ(Difference(OracleMatrix(w, rows, x.view(), bias.data(), true, false),
                               Multiply(Reference(), w, packed, x.view(), bias.data(), true), w.n + kGap), "");
          EXPECT_EQ(Difference(OracleMatrix(w, rows, x.view(), nullptr, false, false),
                               Multiply(Reference(), w, packed, x.view(), nullptr, false), w.n + kGap), "");
        }
      }
    }
  }
}

class GemmKernelTest : public ::testing::TestWithParam<const GemmKernel*> {};

// Equality over shapes, batch sizes and positions in the batch: row m has the bits it has in the
// largest batch, whatever the tile.
void CheckKernel(const GemmKernel& kernel, const WeightSpec& w, ActivationFormat format, float magnitude,
                 uint32_t seed = 1) {
  SCOPED_TRACE(Describe(w, format) + " magnitude " + std::to_string(magnitude));
  constexpr int64_t kRows = 33;
  const WeightRows rows = RandomWeights(w, seed, magnitude);
  const ActivationBuffer x = RandomActivations(RequiredActivation(w, format), kRows, w.k, 2, magnitude);
  const std::vector<float> bias(static_cast<size_t>(w.n), 0.25f);
  const Packed packed(kernel, w, rows);
  const bool amx_order = kernel.isa == IsaLevel::kAmx && Flushes(format);
  const int64_t stride = w.n + kGap;
  Matrix want, want_sum;
  if (amx_order) {
    want = OracleMatrix(w, rows, x.view(), nullptr, false, true);
    want_sum = OracleMatrix(w, rows, x.view(), bias.data(), true, true);
  } else {
    const Packed reference(Reference(), w, rows);
    want = Multiply(Reference(), w, reference, x.view(), nullptr, false);
    want_sum = Multiply(Reference(), w, reference, x.view(), bias.data(), true);
  }
  EXPECT_EQ(Difference(want_sum, Multiply(kernel, w, packed, x.view(), bias.data(), true), stride), "");
  for (int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 33}) {
    const int64_t first = (kRows - m) / 2;
    const Matrix part(want.begin() + first * stride, want.begin() + (first + m) * stride);
    const Matrix got = Multiply(kernel, w, packed, x.view().Slice(first, m), nullptr, false);
    EXPECT_EQ(Difference(part, got, stride), "") << "rows " << m;
  }
}

TEST_P(GemmKernelTest, EqualsReferenceBitForBit) {
  const GemmKernel& kernel = *GetParam();
  if (kernel.isa > DetectedIsa()) GTEST_SKIP() << "needs " << NameOf(kernel.isa);
  if (kernel.isa == IsaLevel::kReference) GTEST_SKIP() << "is the reference";
  int checked = 0;
  for (const Shape shape : kShapes) {
    for (const WeightSpec& w : Formats(shape.n, shape.k)) {
      for (ActivationFormat format : kFormats) {
        if (!kernel.accepts(w, format)) continue;
        ++checked;
        EXPECT_TRUE(IsLegalPair(w, format)) << Describe(w, format);
        EXPECT_EQ(kernel.panel_bytes(w) % 64, 0u);
        CheckKernel(kernel, w, format, 1.0f);
        if (Flushes(format)) CheckKernel(kernel, w, format, 0x1p-70f);
        if (w.scales == ScaleLayout::kTwoLevel) CheckKernel(kernel, w, format, 1.0f, 2);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_GT(checked, 0) << "no test format reaches this kernel";
}

// The last rows of a product with many row blocks, panels and cache blocks of K.
void CheckLastRows(const GemmKernel& kernel, const WeightSpec& w, ActivationFormat format, int64_t rows) {
  SCOPED_TRACE(Describe(w, format));
  const WeightRows weights = RandomWeights(w, 3);
  ActivationSpec spec = RequiredActivation(w, format);
  const ActivationBuffer x = RandomActivations(spec, rows, w.k, 4);
  spec.tiles = kernel.reads_tiles;
  const ActivationBuffer best_order = RandomActivations(spec, rows, w.k, 4);
  const Packed packed(kernel, w, weights);
  const Matrix got = Multiply(kernel, w, packed, best_order.view(), nullptr, false);
  const int64_t stride = w.n + kGap, first = rows - 9;
  const Matrix tail(got.begin() + first * stride, got.end());
  const ActivationView some = x.view().Slice(first, 9);
  const bool amx_order = kernel.isa == IsaLevel::kAmx && Flushes(format);
  const Matrix want = amx_order
                          ? OracleMatrix(w, weights, some, nullptr, false, true)
                          : Multiply(Reference(), w, Packed(Reference(), w, weights), some, nullptr, false);
  EXPECT_EQ(Difference(want, tail, stride), "");
}

// The same bits from activations in tile order, at row counts around the tile and block sizes.
void CheckTileOrder(const GemmKernel& kernel, const WeightSpec& w, ActivationFormat format, uint32_t seed) {
  SCOPED_TRACE(Describe(w, format));
  const Packed packed(kernel, w, RandomWeights(w, seed));
  ActivationSpec spec = RequiredActivation(w, format);
  const std::vector<float> bias(static_cast<size_t>(w.n), 0.25f);
  for (int64_t rows : {33, 48, 64, 75, 97}) {
    const ActivationBuffer x = RandomActivations(spec, rows, w.k, 4);
    ActivationSpec tiles = spec;
    tiles.tiles = true;
    const ActivationBuffer tiled = RandomActivations(tiles, rows, w.k, 4);
    ASSERT_FALSE(x.view().tiled);
    ASSERT_TRUE(tiled.view().tiled);
    for (const bool accumulate : {false, true}) {
      EXPECT_EQ(Difference(Multiply(kernel, w, packed, x.view(), bias.data(), accumulate),
                           Multiply(kernel, w, packed, tiled.view(), bias.data(), accumulate), w.n + kGap),
                "")
          << "rows " << rows;
    }
    // A slice of whole tiles, as a thread gets it.
    EXPECT_EQ(Difference(Multiply(kernel, w, packed, x.view().Slice(32, rows - 32), nullptr, false),
                         Multiply(kernel, w, packed, tiled.view().Slice(32, rows - 32), nullptr, false),
                         w.n + kGap),
              "")
        << "rows " << rows;
  }
}

TEST_P(GemmKernelTest, TileOrderChangesNoBit) {
  const GemmKernel& kernel = *GetParam();
  if (kernel.isa > DetectedIsa()) GTEST_SKIP() << "needs " << NameOf(kernel.isa);
  if (!kernel.reads_tiles) GTEST_SKIP() << "reads rows only";
  for (const Shape shape : {Shape{33, 37}, Shape{70, 136}, Shape{40, 576}}) {
    for (const WeightSpec& w : Formats(shape.n, shape.k)) {
      for (ActivationFormat format : kFormats) {
        if (!kernel.accepts(w, format)) continue;
        CheckTileOrder(kernel, w, format, 1);
        if (w.scales == ScaleLayout::kTwoLevel) CheckTileOrder(kernel, w, format, 2);
      }
    }
  }
}

TEST_P(GemmKernelTest, LargeShapesAgree) {
  const GemmKernel& kernel = *GetParam();
  if (kernel.isa > DetectedIsa()) GTEST_SKIP() << "needs " << NameOf(kernel.isa);
  if (kernel.isa == IsaLevel::kReference) GTEST_SKIP() << "is the reference";
  bool huge = true;  // once: activations larger than L2, more rows than one block
  for (const WeightSpec& w : Formats(70, 1664)) {
    for (ActivationFormat format : kFormats) {
      if (!kernel.accepts(w, format)) continue;
      CheckLastRows(kernel, w, format, 75);
      if (!huge) continue;
      huge = false;
      WeightSpec larger = w;
      larger.n = 170;
      larger.k = 2688;
      if (kernel.accepts(larger, format)) CheckLastRows(kernel, larger, format, 523);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GemmKernelTest,
                         ::testing::ValuesIn(AllGemmKernels().begin(), AllGemmKernels().end()),
                         [](const auto& info) {
                           std::string name = info.param->name;
                           std::erase(name, '_');
                           return name;
                         });

TEST(GemmRegistryTest, NamesAreUniqueAndEveryLegalPairHasAKernelAtEveryLevel) {
  std::set<std::string> names;
  for (const GemmKernel* kernel : AllGemmKernels()) EXPECT_TRUE(names.insert(kernel->name).second);
  for (const WeightSpec& w : Formats(48, 256)) {
    for (ActivationFormat format : kFormats) {
      for (int level = 0; level < static_cast<int>(kIsaNames.size()); ++level) {
        const auto isa = static_cast<IsaLevel>(level);
        const GemmKernel* kernel = FindGemmKernel(w, format, isa);
        EXPECT_EQ(kernel != nullptr, IsLegalPair(w, format)) << Describe(w, format);
        if (kernel != nullptr) {
          EXPECT_LE(kernel->isa, isa);
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo
