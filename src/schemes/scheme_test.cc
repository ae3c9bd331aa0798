// SPDX-License-Identifier: Apache-2.0
// Properties that hold for every scheme that can be written.
#include "schemes/scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "schemes/open_linear.h"
#include "schemes/rtn.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

// Odd numbers of rows and a row count over one quantizing range; k holds groups of every size.
constexpr int64_t kRows = 2 * kRowAlignment + 37;
constexpr int64_t kCols = 384;

std::vector<const Scheme*> WritableSchemes() {
  std::vector<const Scheme*> schemes;
  for (const Scheme* scheme : AllSchemes()) {
    if (scheme->writable()) schemes.push_back(scheme);
  }
  return schemes;
}

class SchemeTest : public testing::TestWithParam<const Scheme*> {
 protected:
  const Scheme& scheme() const { return *GetParam(); }
  TargetModule Target(DType dtype = DType::kBF16) const {
    return {.name = "model.layers.0.mlp.up_proj",
            .n = kRows,
            .k = kCols,
            .dtype = dtype,
            .args = scheme().args,
            .absmax = 0,
            .input_scale = 0.25f};
  }
  // As a quantizer prepares it: schemes with one scale per tensor need a pass over the whole.
  TargetModule TargetFor(const std::vector<float>& x) const {
    TargetModule target = Target();
    for (const float value : x) target.absmax = std::max(target.absmax, std::abs(value));
    return target;
  }
  void AddTo(TestCheckpoint& checkpoint, const TargetModule& target,
             const std::vector<float>& x) const {
    checkpoint.config["quantization_config"] =
        MakeQuantizationConfig(scheme(), scheme().args, {"lm_head"});
    checkpoint.AddQuantized(scheme(), target, x);
  }
};

// The largest |w - w'| that rounding to nearest may leave, relative to the span's largest |w|.
double ErrorBound(const Scheme& scheme) {
  const QuantArgs& args = scheme.args.weights;
  if (args.type == QuantType::kFloat) return 1.0 / 16 + 0.01;  // half of 2^-3, and the bf16 scale
  // Steps of at most 16 in 119, rounded to integers: half a step, and 15 * 1/2 at the group's edge.
  if (scheme.method == "octavo_qoq") return (8 + 7.5) / 119 + 0.01;
  const double steps = args.symmetric ? (1 << args.num_bits) - 1 : (1 << args.num_bits) / 2.0 - 1;
  return 1.02 / steps + 0.01;  // clamping at -q_min - 1/2 costs up to half a step more
}

TEST_P(SchemeTest, WritesWhatItReads) {
  TestCheckpoint folder;
  const std::vector<float> x = RandomWeights(kRows * kCols, 7);
  const TargetModule target = TargetFor(x);
  AddTo(folder, target, x);
  auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok()) << loader.status().ToString();
  auto source = loader->OpenLinear(target.name);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ((*source)->info().scheme, scheme().name);
  const WeightSpec want = scheme().spec(target);
  EXPECT_TRUE((*source)->spec().SameFormat(want));
  EXPECT_EQ((*source)->spec().n, kRows);

  // Any range of rows decodes to what the quantizer chose.
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, kRows}, {0, 1}, {5, 16}, {127, 2},
                                     {kRows - 3, 3}, {100, 0}}) {
    const int64_t first = begin / kRowAlignment * kRowAlignment;
    const int64_t last = std::min((begin + count + kRowAlignment - 1) / kRowAlignment * kRowAlignment,
                                  kRows);
    QuantizedRows quantized;
    ASSERT_TRUE(scheme().quantize(target, x.data() + first * kCols, first, last - first, quantized).ok());
    WeightRows expected;
    scheme().to_weight_rows(target, quantized, expected);
    WeightRows rows;
    const Status status = (*source)->ReadRows(begin, count, rows);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(rows.count, count);
    ExpectScalesFitTheirType((*source)->spec(), rows);
    const auto same = [&](const auto& all, const auto& part) {
      const int64_t per_row = last == first ? 0 : static_cast<int64_t>(all.size()) / (last - first);
      ASSERT_EQ(static_cast<int64_t>(part.size()), per_row * count);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + (begin - first) * per_row));
    };
    same(expected.codes, rows.codes);
    same(expected.scales, rows.scales);
    same(expected.mins, rows.mins);
    same(expected.scales2, rows.scales2);
    same(expected.zeros2, rows.zeros2);
  }
}

TEST_P(SchemeTest, StaysWithinItsErrorBound) {
  TestCheckpoint folder;
  const std::vector<float> x = RandomWeights(kRows * kCols, 11);
  const TargetModule target = TargetFor(x);
  AddTo(folder, target, x);
  auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok());
  auto source = loader->OpenLinear(target.name);
  ASSERT_TRUE(source.ok());
  std::vector<float> values(x.size());
  ASSERT_TRUE((*source)->DequantizeRows(0, kRows, values.data()).ok());
  const double bound = ErrorBound(scheme());
  for (int64_t row = 0; row < kRows; ++row) {
    float absmax = 0;
    for (int64_t i = 0; i < kCols; ++i) absmax = std::max(absmax, std::abs(x[row * kCols + i]));
    // A block's scale comes from more than this row.
    if (scheme().args.weights.strategy == Strategy::kBlock) absmax = 0.7f;
    for (int64_t i = 0; i < kCols; ++i) {
      ASSERT_LE(std::abs(x[row * kCols + i] - values[row * kCols + i]), bound * absmax)
          << "row " << row << " column " << i;
    }
  }
  EXPECT_LT((*source)->bits_per_weight(), 9);
}

TEST_P(SchemeTest, OnlineEqualsTheCheckpoint) {
  if (scheme().online_name.empty()) GTEST_SKIP() << "no online form";
  TestCheckpoint dense;
  TestCheckpoint quantized;
  const std::vector<float> x = RandomWeights(kRows * kCols, 13);
  const TargetModule target = TargetFor(x);
  dense.AddBf16(target.name + ".weight", Shape{kRows, kCols}, x);
  AddTo(quantized, target, x);
  auto online = LinearLoader::Create(dense.Open(), scheme().online_name);
  auto stored = LinearLoader::Create(quantized.Open());
  ASSERT_TRUE(online.ok() && stored.ok());
  auto a = online->OpenLinear(target.name);
  auto b = stored->OpenLinear(target.name);
  ASSERT_TRUE(a.ok()) << a.status().ToString();
  ASSERT_TRUE(b.ok());
  EXPECT_EQ((*a)->info().activation, (*b)->info().activation);
  std::vector<float> from_online(x.size());
  std::vector<float> from_file(x.size());
  ASSERT_TRUE((*a)->DequantizeRows(0, kRows, from_online.data()).ok());
  ASSERT_TRUE((*b)->DequantizeRows(0, kRows, from_file.data()).ok());
  if (scheme().method == "bitsandbytes") {  // its order of products, q * absmax / 127, rounds in between
    EXPECT_THAT(from_online, testing::Pointwise(testing::FloatEq(), from_file));
  } else {
    EXPECT_EQ(from_online, from_file);
  }
  EXPECT_EQ(LinearLoader::Create(quantized.Open(), scheme().online_name).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_P(SchemeTest, IsFoundByItsNamesInAnyCase) {
  std::string lower(scheme().name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  EXPECT_EQ(FindScheme(scheme().name), &scheme());
  EXPECT_EQ(FindScheme(lower), &scheme());
  EXPECT_EQ(FindScheme(lower + "x"), nullptr);
  if (scheme().online_name.empty()) return;
  EXPECT_EQ(FindOnlineScheme(scheme().online_name), &scheme());
  EXPECT_EQ(FindOnlineScheme(lower), &scheme());
}

TEST_P(SchemeTest, QuantizesZerosAndRefusesNan) {
  const TargetModule target = Target();
  std::vector<float> x(static_cast<size_t>(kRowAlignment * kCols), 0.0f);
  QuantizedRows rows;
  ASSERT_TRUE(scheme().quantize(target, x.data(), 0, kRowAlignment, rows).ok());
  // bitsandbytes stores the absmax itself.
  const float least = scheme().method == "bitsandbytes" ? 0.0f : std::numeric_limits<float>::min();
  for (const float scale : rows.scales) EXPECT_GE(scale, least);
  WeightRows decoded;
  scheme().to_weight_rows(target, rows, decoded);
  std::vector<float> values(x.size());
  DequantizeWeightRows(scheme().spec(target), decoded, DType::kF32, values.data());
  EXPECT_EQ(values, x);
  for (const float bad : {std::nanf(""), INFINITY}) {
    x[3 * kCols + 5] = bad;
    const Status status = scheme().quantize(target, x.data(), 128, kRowAlignment, rows);
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_NE(status.message().find("row 131 column 5"), std::string::npos) << status.message();
  }
}

// Cutting, retyping or removing any tensor is an error that names it.
TEST_P(SchemeTest, RefusesDamagedTensors) {
  const std::vector<float> x = RandomWeights(kRows * kCols, 17);
  const TargetModule target = TargetFor(x);
  for (const TensorSpec& spec : scheme().tensors(target)) {
    for (const std::string damage : {"missing", "type", "rows", "rank"}) {
      if (damage == "missing" && spec.name.ends_with(".weight_format")) continue;  // old files lack it
      TestCheckpoint folder;
      AddTo(folder, target, x);
      if (damage == "missing" && spec.name.ends_with("input_scale")) continue;  // may be absent
      if (damage == "missing") folder.Remove(spec.name);
      if (damage == "type") {
        folder.Add(spec.name, DType::kBool, spec.shape,
                   std::vector<uint8_t>(static_cast<size_t>(spec.shape.NumElements())));
      }
      if (damage == "rows") {
        folder.Add(spec.name, spec.dtype, Shape{0, 3}, std::vector<uint8_t>());
      }
      if (damage == "rank") folder.spec(spec.name).shape = Shape{1, 1, spec.shape.NumElements()};
      auto loader = LinearLoader::Create(folder.Open());
      ASSERT_TRUE(loader.ok());
      const auto source = loader->OpenLinear(target.name);
      // One scale fits any number of rows: models check the shape.
      const bool one = scheme().args.weights.strategy == Strategy::kTensor;
      if (one && damage == "rows" && spec.name == target.name + ".weight") continue;
      ASSERT_FALSE(source.ok()) << spec.name << " " << damage;
      EXPECT_NE(source.status().message().find(target.name), std::string::npos)
          << source.status().message();
    }
  }
}

TEST_P(SchemeTest, RefusesNanScales) {
  const TargetModule target = Target();
  TestCheckpoint folder;
  AddTo(folder, target, RandomWeights(kRows * kCols, 19));
  const bool bnb = scheme().method == "bitsandbytes";
  const std::string name = target.name + (bnb ? ".SCB" : ".weight_scale");
  auto& bytes = folder.bytes(name);
  bytes[bytes.size() - 1] = std::byte{0x7f};  // the last scale becomes a bf16 NaN
  bytes[bytes.size() - 2] = std::byte{0xff};
  auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok());
  auto source = loader->OpenLinear(target.name);
  ASSERT_EQ(source.ok(), !bnb) << source.status().ToString();  // it reads them when it opens
  WeightRows rows;
  const bool one = scheme().args.weights.strategy == Strategy::kTensor;  // the first is the last
  if (!bnb) {
    EXPECT_EQ((*source)->ReadRows(0, 1, rows).ok(), !one);
  }
  const Status status = bnb ? source.status() : (*source)->ReadRows(kRows - 1, 1, rows);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
}

INSTANTIATE_TEST_SUITE_P(All, SchemeTest, testing::ValuesIn(WritableSchemes()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(SchemeRegistryTest, HasOneSchemePerFile) {
  const auto folder = std::filesystem::path(OCTAVO_SOURCE_DIR) / "src/schemes/scheme";
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files += entry.path().extension() == ".cc" ? 1 : 0;
  }
  EXPECT_EQ(AllSchemes().size(), files);
  std::set<std::string_view> names;
  for (const Scheme* scheme : AllSchemes()) names.insert(scheme->name);
  EXPECT_EQ(names.size(), files);
}

// The schemes cut the space of args into parts: none is matched twice.
TEST(SchemeRegistryTest, MatchesArgsAtMostOnce) {
  const QuantArgs int8_token{.num_bits = 8, .strategy = Strategy::kToken, .dynamic = true};
  QuantArgs fp8_token = int8_token;
  fp8_token.type = QuantType::kFloat;
  for (const QuantType type : {QuantType::kInt, QuantType::kFloat}) {
    for (int bits = 2; bits <= 8; ++bits) {
      for (const bool symmetric : {true, false}) {
        for (const Strategy strategy :
             {Strategy::kTensor, Strategy::kChannel, Strategy::kGroup, Strategy::kBlock}) {
          for (const auto& input :
               {std::optional<QuantArgs>(), std::optional(int8_token), std::optional(fp8_token)}) {
            if (type == QuantType::kFloat && bits != 8) continue;
            const SchemeArgs args{{bits, type, symmetric, strategy, 128, 128, 128, false}, input};
            int matches = 0;
            for (const Scheme* scheme : AllSchemes()) {
              matches += scheme->matches != nullptr && scheme->matches(args) ? 1 : 0;
            }
            EXPECT_LE(matches, 1) << Describe(args);
            if (type == QuantType::kInt || symmetric) {
              EXPECT_EQ(matches, 1) << Describe(args);
            }
          }
        }
      }
    }
  }
}

TEST(SchemeRegistryTest, PresetsMatchThemselves) {
  for (const Scheme* scheme : AllSchemes()) {
    if (scheme->matches == nullptr) continue;
    auto match = MatchScheme(scheme->args);
    ASSERT_TRUE(match.ok()) << scheme->name;
    EXPECT_EQ(*match, scheme);
  }
}

}  // namespace
}  // namespace octavo
