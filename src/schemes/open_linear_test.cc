// SPDX-License-Identifier: Apache-2.0
#include "schemes/open_linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "schemes/packed_ints.h"
#include "schemes/test_checkpoint.h"

namespace octavo {
namespace {

using testing::HasSubstr;

constexpr int64_t kN = 40;
constexpr int64_t kK = 192;

std::unique_ptr<WeightSource> Open(const Checkpoint& checkpoint, const std::string& module,
                                   std::string_view online = "", ThreadPool* pool = nullptr) {
  auto loader = LinearLoader::Create(checkpoint, online, pool);
  EXPECT_TRUE(loader.ok()) << loader.status().ToString();
  if (!loader.ok()) return nullptr;
  auto source = loader->OpenLinear(module);
  EXPECT_TRUE(source.ok()) << source.status().ToString();
  return source.ok() ? std::move(source).value() : nullptr;
}

std::vector<float> Values(const WeightSource& source) {
  std::vector<float> values(static_cast<size_t>(source.spec().n * source.spec().k));
  const Status status = source.DequantizeRows(0, source.spec().n, values.data());
  EXPECT_TRUE(status.ok()) << status.ToString();
  return values;
}

std::vector<uint8_t> E4M3Codes(int64_t count) {
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>(i * 37 % 256);
    if ((codes[i] & 0x7f) == 0x7f) codes[i] = 0x3a;
  }
  return codes;
}

TEST(OpenLinearTest, ReadsDenseRowsInEveryFloatType) {
  TestCheckpoint folder;
  const std::vector<float> x = RandomWeights(kN * kK, 3);
  std::vector<uint16_t> halves;
  for (const float value : x) halves.push_back(F32ToF16(value));
  folder.AddBf16("a.weight", Shape{kN, kK}, x);
  folder.Add("b.weight", DType::kF16, Shape{kN, kK}, halves);
  folder.Add("c.weight", DType::kF32, Shape{kN, kK}, x);
  const Checkpoint& checkpoint = folder.Open();
  const auto a = Open(checkpoint, "a");
  const auto b = Open(checkpoint, "b");
  const auto c = Open(checkpoint, "c");
  EXPECT_EQ(a->info().activation, ActivationFormat::kBf16);
  EXPECT_EQ(b->info().activation, ActivationFormat::kF32);
  EXPECT_EQ(Values(*a), x);
  EXPECT_EQ(Values(*c), x);
  WeightRows rows;
  ASSERT_TRUE(b->ReadRows(7, 2, rows).ok());
  EXPECT_EQ(std::memcmp(rows.codes.data(), halves.data() + 7 * kK, 2 * kK * 2), 0);
  EXPECT_EQ(b->bits_per_weight(), 16);
  EXPECT_EQ(b->ReadRows(kN - 1, 2, rows).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(b->ReadRows(-1, 1, rows).code(), StatusCode::kInvalidArgument);
}

TEST(OpenLinearTest, ReadsAutoFp8PerTensor) {
  TestCheckpoint folder;
  folder.config["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "static"}};
  const std::vector<uint8_t> codes = E4M3Codes(kN * kK);
  folder.Add("a.weight", DType::kF8E4M3, Shape{kN, kK}, codes);
  folder.Add("a.weight_scale", DType::kF32, Shape{}, std::vector<float>{0.0371f});
  folder.Add("a.input_scale", DType::kF32, Shape{}, std::vector<float>{0.5f});
  folder.AddBf16("router.weight", Shape{kN, kK}, RandomWeights(kN * kK, 3));
  const Checkpoint& checkpoint = folder.Open();
  const auto source = Open(checkpoint, "a");
  EXPECT_EQ(source->info().scheme, "FP8");
  EXPECT_EQ(source->info().activation, ActivationFormat::kFp8);
  EXPECT_EQ(source->info().input_scale, 0.5f);
  EXPECT_EQ(source->info().note, "");
  const std::vector<float> values = Values(*source);
  for (size_t i = 0; i < codes.size(); ++i) ASSERT_EQ(values[i], E4M3ToF32(codes[i]) * 0.0371f);
  EXPECT_EQ(Open(checkpoint, "router")->info().scheme, "dense");
}

TEST(OpenLinearTest, StaticActivationsNeedAPositiveScale) {
  TestCheckpoint folder;
  folder.config["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "static"}};
  folder.Add("a.weight", DType::kF8E4M3, Shape{kN, kK}, E4M3Codes(kN * kK));
  folder.Add("a.weight_scale", DType::kF32, Shape{}, std::vector<float>{0.0371f});
  const auto source = Open(folder.Open(), "a");
  EXPECT_EQ(source->info().input_scale, 0);
  EXPECT_THAT(source->info().note, HasSubstr("no input_scale"));
  folder.Add("a.input_scale", DType::kF32, Shape{}, std::vector<float>{-1.0f});
  auto loader = LinearLoader::Create(folder.Open());
  ASSERT_TRUE(loader.ok());
  EXPECT_THAT(loader->OpenLinear("a").status().message(), HasSubstr("want a positive number"));
}

// 192 columns in blocks of 128: the second block is cut, and groups become 64 wide.
TEST(OpenLinearTest, ReadsBlockScalesThatDoNotDivide) {
  TestCheckpoint folder;
  folder.config["quantization_config"] = {{"quant_method", "fp8"},
                                          {"activation_scheme", "dynamic"},
                                          {"weight_block_size", {32, 128}}};
  const std::vector<uint8_t> codes = E4M3Codes(kN * kK);
  folder.Add("a.weight", DType::kF8E4M3, Shape{kN, kK}, codes);
  folder.Add("a.weight_scale_inv", DType::kF32, Shape{2, 2}, std::vector<float>{1, 2, 3, 4});
  const auto source = Open(folder.Open(), "a");
  EXPECT_EQ(source->spec().group_size, 64);
  EXPECT_EQ(source->info().activation, ActivationFormat::kFp8Group128);
  const std::vector<float> values = Values(*source);
  WeightRows rows;
  ASSERT_TRUE(source->ReadRows(30, 4, rows).ok());
  EXPECT_EQ(rows.scales, (std::vector<float>{1, 1, 2, 1, 1, 2, 3, 3, 4, 3, 3, 4}));
  for (int64_t row = 0; row < kN; ++row) {
    for (int64_t i = 0; i < kK; ++i) {
      const float scale = static_cast<float>(1 + row / 32 * 2 + i / 128);
      ASSERT_EQ(values[row * kK + i], E4M3ToF32(codes[row * kK + i]) * scale);
    }
  }
}

TEST(OpenLinearTest, RefusesNanCodesAndCodesOutOfRange) {
  TestCheckpoint folder;
  const Scheme& w4a8 = *FindScheme("W4A8");
  folder.config["quantization_config"] = MakeQuantizationConfig(w4a8, w4a8.args, {});
  folder.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 64;
  std::vector<int8_t> codes(kN * kK, 3);
  codes[5 * kK + 9] = 8;
  folder.Add("a.weight", DType::kI8, Shape{kN, kK}, codes);
  folder.AddBf16("a.weight_scale", Shape{kN, 3}, std::vector<float>(kN * 3, 0.5f));
  const auto source = Open(folder.Open(), "a");
  WeightRows rows;
  EXPECT_TRUE(source->ReadRows(0, 5, rows).ok());
  EXPECT_THAT(source->ReadRows(4, 5, rows).message(), HasSubstr("row 5 column 9 is 8"));

  TestCheckpoint fp8;
  fp8.config["quantization_config"] = {{"quant_method", "fp8"}};
  std::vector<uint8_t> bytes(kN * kK, 0x38);
  bytes[2 * kK + 1] = 0xff;
  fp8.Add("a.weight", DType::kF8E4M3, Shape{kN, kK}, bytes);
  fp8.Add("a.weight_scale", DType::kF32, Shape{1}, std::vector<float>{1});
  EXPECT_THAT(Open(fp8.Open(), "a")->ReadRows(0, kN, rows).message(),
              HasSubstr("row 2 column 1 is NaN"));
}

// compressed-tensors before 0.19: ten 3-bit codes per word.
TEST(OpenLinearTest, ReadsTheOldThreeBitPacking) {
  TestCheckpoint folder;
  const Scheme& w3a16 = *FindScheme("W3A16");
  folder.config["quantization_config"] = MakeQuantizationConfig(w3a16, w3a16.args, {});
  folder.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = 64;
  const int64_t words = PackedWords(kK, 3, IntPacking::kWordAligned);
  std::vector<uint32_t> packed(static_cast<size_t>(kN * words));
  for (int64_t row = 0; row < kN; ++row) {
    for (int64_t i = 0; i < kK; ++i) {
      packed[row * words + i / 10] |= static_cast<uint32_t>((row + i) % 8) << (i % 10 * 3);
    }
  }
  folder.Add("a.weight_packed", DType::kI32, Shape{kN, words}, packed);
  folder.Add("a.weight_shape", DType::kI64, Shape{2}, std::vector<int64_t>{kN, kK});
  folder.AddBf16("a.weight_scale", Shape{kN, 3}, std::vector<float>(kN * 3, 0.5f));
  const std::vector<float> values = Values(*Open(folder.Open(), "a"));
  for (int64_t row = 0; row < kN; ++row) {
    for (int64_t i = 0; i < kK; ++i) {
      ASSERT_EQ(values[row * kK + i], 0.5f * static_cast<float>((row + i) % 8 - 4));
    }
  }
}

TEST(OpenLinearTest, RefusesAShapeTensorThatLies) {
  for (const int64_t k : {int64_t{0}, int64_t{-8}, kK + 1, int64_t{1} << 40}) {
    TestCheckpoint folder;
    const Scheme& w4a16 = *FindScheme("W4A16");
    folder.config["quantization_config"] = MakeQuantizationConfig(w4a16, w4a16.args, {});
    folder.Add("a.weight_packed", DType::kI32, Shape{kN, kK / 8}, std::vector<uint32_t>(kN * kK / 8));
    folder.Add("a.weight_shape", DType::kI64, Shape{2}, std::vector<int64_t>{kN, k});
    folder.AddBf16("a.weight_scale", Shape{kN, 3}, std::vector<float>(kN * 3, 0.5f));
    auto loader = LinearLoader::Create(folder.Open());
    ASSERT_TRUE(loader.ok());
    EXPECT_THAT(loader->OpenLinear("a").status().message(), HasSubstr("a.weight_shape")) << k;
  }
}

// vLLM: one f32 scale for the tensor, multiplied by its reciprocal.
TEST(OpenLinearTest, OnlineFp8HasOneF32ScalePerTensor) {
  TestCheckpoint folder;
  const std::vector<float> x = RandomWeights(kN * kK, 5);
  folder.AddBf16("a.weight", Shape{kN, kK}, x);
  folder.AddBf16("lm_head.weight", Shape{kN, kK}, x);
  float absmax = 0;
  for (const float value : x) absmax = std::max(absmax, std::abs(value));
  const Checkpoint& checkpoint = folder.Open();
  ThreadPool pool(2);
  for (ThreadPool* threads : {static_cast<ThreadPool*>(nullptr), &pool}) {
    const auto source = Open(checkpoint, "a", "fp8", threads);
    WeightRows rows;
    ASSERT_TRUE(source->ReadRows(3, 2, rows).ok());
    const float scale = absmax / 448.0f;
    EXPECT_EQ(rows.scales, (std::vector<float>{scale, scale}));
    for (int64_t i = 0; i < 2 * kK; ++i) {
      ASSERT_EQ(rows.codes[static_cast<size_t>(i)], F32ToE4M3(x[3 * kK + i] * (1.0f / scale)));
    }
  }
  EXPECT_EQ(Open(checkpoint, "lm_head", "fp8")->info().scheme, "dense");
  EXPECT_THAT(LinearLoader::Create(checkpoint, "int9").status().message(), HasSubstr("w4a16"));
}

TEST(OpenLinearTest, OnlineGroupsFitEveryLayer) {
  TestCheckpoint folder;
  folder.AddBf16("a.weight", Shape{kN, 256}, RandomWeights(kN * 256, 5));
  folder.AddBf16("b.weight", Shape{kN, kK}, RandomWeights(kN * kK, 5));
  folder.AddBf16("embed_tokens.weight", Shape{kN, 33}, RandomWeights(kN * 33, 5));
  EXPECT_EQ(Open(folder.Open(), "a", "w4a16")->spec().group_size, 64);
  folder.AddBf16("c.weight", Shape{kN, 33}, RandomWeights(kN * 33, 5));
  EXPECT_EQ(LinearLoader::Create(folder.Open(), "w4a16").status().code(),
            StatusCode::kInvalidArgument);
}

TEST(OpenLinearTest, RunsGgufBlocksAtTheirOwnBits) {
  const char* models = std::getenv("OCTAVO_MODELS");
  const char* home = std::getenv("HOME");
  namespace fs = std::filesystem;
  const fs::path root =
      models != nullptr ? fs::path(models) : fs::path(home == nullptr ? "" : home) / ".cache/octavo-models";
  bool any = false;
  for (const std::string name : {"smollm2-135m", "qwen-0.5b", "qwen-1.5b"}) {
    const fs::path path = root / "gguf" / (name + ".gguf");
    if (!fs::exists(path)) continue;
    any = true;
    auto checkpoint = Checkpoint::Open(path.string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    for (const std::string module : {"model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.v_proj",
                                     "model.layers.3.mlp.down_proj", "model.embed_tokens"}) {
      const auto source = Open(**checkpoint, module);
      ASSERT_NE(source, nullptr);
      EXPECT_LT(source->bits_per_weight(), 9) << source->info().scheme;
      const int64_t count = std::min<int64_t>(source->spec().n, 70);
      std::vector<float> want(static_cast<size_t>(count * source->spec().k)), have(want.size());
      ASSERT_TRUE(source->DequantizeRows(1, count - 1, want.data()).ok());
      WeightRows rows;
      ASSERT_TRUE(source->ReadRows(1, count - 1, rows).ok());
      ExpectScalesFitTheirType(source->spec(), rows);
      DequantizeWeightRows(source->spec(), rows, DType::kF32, have.data());
      EXPECT_EQ(have, want) << name << " " << module << " " << source->info().scheme;
    }
  }
  if (!any) GTEST_SKIP() << "no GGUF model in " << root << " (set OCTAVO_MODELS)";
}

}  // namespace
}  // namespace octavo
