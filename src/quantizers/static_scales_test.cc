// SPDX-License-Identifier: Apache-2.0
// Calibrated scales: of static activations, and of keys and values.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "quantizers/quantize_fixture.h"
#include "schemes/open_linear.h"
#include "schemes/weight_source.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class StaticScalesTest : public QuantizeFixture {
 protected:
  static float ReadScale(const Checkpoint& checkpoint, const std::string& name) {
    const StoredTensor* tensor = checkpoint.Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    float scale = 0;
    if (tensor == nullptr) return 0;
    EXPECT_TRUE(checkpoint.ReadRowsF32(*tensor, 0, 1, &scale).ok());
    return scale;
  }

  // Logits of the first two samples with another KV cache.
  std::vector<float> LogitsWithKv(const std::string& path, KvDType kv) {
    auto model = LoadModel(path, {}, *ActiveIsa(), pool_);
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    auto forcing = TeacherForcing::Create(*model, 64, kv, *ActiveIsa(), pool_);
    EXPECT_TRUE(forcing.ok()) << forcing.status().ToString();
    std::vector<float> all;
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(forcing->Run(samples_->samples[i], [&](int64_t, int64_t count, const float* logits) {
        all.insert(all.end(), logits, logits + count * (*model)->config().vocab_size);
        return Status::Ok();
      }).ok());
    }
    return all;
  }
};

TEST_F(StaticScalesTest, WritesTheRangeOfEveryInput) {
  for (const auto& [scheme, divisor] : {std::pair("FP8", 448.0f), std::pair("W8A8_STATIC", 127.5f)}) {
    for (const std::string name : {"llama/plain", "qwen2/tied", "opt/pre_norm", "mixtral/four_experts"}) {
      SCOPED_TRACE(fmt::format("{} {}", scheme, name));
      const TestModel model(name);
      const QuantizeOptions options = Options(model, scheme);
      const QuantizeResult result = Quantize(options);
      ASSERT_TRUE(result.calibration.has_value());
      auto checkpoint = Checkpoint::Open(options.output);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
      auto loader = LinearLoader::Create(**checkpoint);
      ASSERT_TRUE(loader.ok());
      for (const LayerReport& layer : result.calibration->layers) {
        for (const ModuleReport& module : layer.modules) {
          const DType type = (*checkpoint)->Find(module.module + ".input_scale")->dtype;
          const float range = RoundToDType(type, static_cast<float>(module.input_absmax));
          const auto source = loader->OpenLinear(module.module);
          ASSERT_TRUE(source.ok()) << source.status().ToString();
          EXPECT_EQ((*source)->info().scheme, scheme);
          EXPECT_EQ((*source)->info().input_scale, RoundToDType(type, range / divisor))
              << module.module;
          EXPECT_EQ((*source)->info().note, "");
        }
      }
      EXPECT_LT(Distance(Logits(model.path()), Logits(options.output)), 0.2);
    }
  }
}

TEST_F(StaticScalesTest, FollowTheModelAndNotItsQuantization) {
  const TestModel model("llama/plain");
  const QuantizeOptions fp8 = Options(model, "FP8");
  const QuantizeOptions int8 = Options(model, "W8A8_STATIC");
  const QuantizeResult a = Quantize(fp8);
  const QuantizeResult b = Quantize(int8);
  for (size_t layer = 0; layer < 2; ++layer) {
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(a.calibration->layers[layer].modules[i].input_absmax,
                b.calibration->layers[layer].modules[i].input_absmax);
    }
  }
}

TEST_F(StaticScalesTest, SmoothQuantMeasuresSmoothedInputs) {
  TestModel model("qwen2/tied");
  model.InjectOutliers(3, 64.0f);
  const std::vector<float> original = Logits(model.path());
  const QuantizeOptions plain = Options(model, "W8A8_STATIC");
  const QuantizeOptions smooth = Options(model, "W8A8_STATIC", "smoothquant+gptq");
  Quantize(plain);
  Quantize(smooth);
  EXPECT_LT(Distance(original, Logits(smooth.output)), 0.5 * Distance(original, Logits(plain.output)));
  const std::string name = "model.layers.0.self_attn.q_proj.input_scale";
  EXPECT_LT(ReadScale(**Checkpoint::Open(smooth.output), name),
            0.2f * ReadScale(**Checkpoint::Open(plain.output), name));
}

TEST_F(StaticScalesTest, AnExpertWithoutTokensTakesTheOthersRange) {
  const TestModel model("mixtral/four_experts");
  samples_ = Samples(2, 1);
  const QuantizeOptions options = Options(model, "FP8");
  const QuantizeResult result = Quantize(options);
  int without = 0;
  for (const LayerReport& layer : result.calibration->layers) {
    for (const ModuleReport& module : layer.modules) {
      if (module.num_tokens > 0) continue;
      ++without;
      EXPECT_THAT(module.note, HasSubstr("input range of the other experts"));
      EXPECT_GT(ReadScale(**Checkpoint::Open(options.output), module.module + ".input_scale"), 0);
    }
  }
  EXPECT_GT(without, 0);
}

// Values 2^12 times larger, taken back by the output projection: without scales they saturate.
TEST_F(StaticScalesTest, KvScalesHoldLargeValues) {
  TestModel model("llama/plain");
  for (const int layer : {0, 1}) {
    const std::string attention = fmt::format("model.layers.{}.self_attn.", layer);
    model.Edit(attention + "v_proj.weight", [](std::vector<float>& w) { for (float& x : w) x *= 4096; });
    model.Edit(attention + "o_proj.weight", [](std::vector<float>& w) { for (float& x : w) x /= 4096; });
  }
  for (const std::string algorithm : {"rtn", "smoothquant"}) {
    SCOPED_TRACE(algorithm);
    QuantizeOptions options = Options(model, "W8A8", algorithm);
    Quantize(options);
    const std::vector<float> want = LogitsWithKv(options.output, KvDType::kBf16);
    EXPECT_GT(Distance(want, LogitsWithKv(options.output, KvDType::kFp8E4M3)), 0.1);
    options.output += "_kv";
    options.kv_cache_scheme = "fp8";
    Quantize(options);
    EXPECT_LT(Distance(want, LogitsWithKv(options.output, KvDType::kFp8E4M3)), 0.05);
    EXPECT_EQ(LogitsWithKv(options.output, KvDType::kBf16), want);
    const auto checkpoint = Checkpoint::Open(options.output);
    const auto config = QuantizationConfig::FromCheckpoint(**checkpoint);
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    ASSERT_TRUE(config->kv_cache().has_value());
    EXPECT_EQ(config->kv_cache()->type, QuantType::kFloat);
    EXPECT_GT(ReadScale(**checkpoint, "model.layers.1.self_attn.v_scale"),
              100 * ReadScale(**checkpoint, "model.layers.1.self_attn.k_scale"));
  }
}

// The keys' module may stay dense: its scales are written all the same.
TEST_F(StaticScalesTest, KvScalesWithoutQuantizedKeys) {
  const TestModel model("opt/pre_norm");
  QuantizeOptions options = Options(model, "FP8_DYNAMIC");
  options.ignore = {".*[qkv]_proj"};
  options.kv_cache_scheme = "fp8";
  Quantize(options);
  const auto checkpoint = Checkpoint::Open(options.output);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
  const std::string prefix = "model.decoder.layers.1.self_attn.";
  EXPECT_GT(ReadScale(**checkpoint, prefix + "k_scale"), 0);
  EXPECT_GT(ReadScale(**checkpoint, prefix + "v_scale"), 0);
  EXPECT_LT(Distance(Logits(model.path()), LogitsWithKv(options.output, KvDType::kFp8E4M3)), 0.2);
}

TEST_F(StaticScalesTest, NeedDataAndAKnownScheme) {
  const TestModel model("llama/plain");
  QuantizeOptions options = Options(model, "FP8");
  options.calibration = nullptr;
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(),
              HasSubstr("scheme FP8 needs calibration data"));
  options = Options(model, "W8A8");
  options.calibration = nullptr;
  options.kv_cache_scheme = "fp8";
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(),
              HasSubstr("KV cache scheme fp8 needs calibration data"));
  options.kv_cache_scheme = "int8";
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("'int8', want fp8"));
}

// Twenty kills at random reports of progress, by a fixed seed.
TEST_F(StaticScalesTest, KilledTwentyTimesAndResumedIsBitIdentical) {
  const TestModel model("llama/llama3_rope");  // three shards
  QuantizeOptions options = Options(model, "W8A8_STATIC", "smoothquant+gptq");
  options.kv_cache_scheme = "fp8";
  int calls = 0;
  ASSERT_TRUE(QuantizeCheckpoint(options, [&](uint64_t, uint64_t) { ++calls; }).ok());
  const auto whole = Contents(options.output);
  options.output += "_resumed";
  options.threads = 1;
  std::mt19937 random(5);
  int kills = 0;
  options.resume = true;
  while (kills < 20) {
    const int at = 1 + static_cast<int>(random() % static_cast<unsigned>(calls));
    if (RunKilledAt(options, at)) {
      ++kills;
      continue;  // further kills hit the run that continues
    }
    EXPECT_TRUE(Contents(options.output) == whole);
    fs::remove_all(options.output);
  }
  Quantize(options);
  EXPECT_TRUE(Contents(options.output) == whole);
}

// The limit on the size of files stands in for a full disk: writes fail all the same.
TEST_F(StaticScalesTest, AFullDiskIsAnErrorAndTheRunContinues) {
  const TestModel model("llama/llama3_rope");
  QuantizeOptions options = Options(model, "W4A16", "gptq");
  options.group_size = 32;
  Quantize(options);
  const auto whole = Contents(options.output);
  fs::remove_all(options.output);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{16 << 10, 16 << 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto result = QuantizeCheckpoint(options);
    const bool named = result.status().message().find(options.output) != std::string::npos;
    ::_exit(!result.ok() && named ? 17 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 17);
  EXPECT_FALSE(fs::exists(options.output));
  options.resume = true;
  Quantize(options);
  EXPECT_TRUE(Contents(options.output) == whole);
}

TEST_F(StaticScalesTest, AnUnreadableShardIsNamed) {
  const TestModel model("llama/llama3_rope");
  fs::path shard;
  for (const auto& entry : fs::directory_iterator(model.path())) {
    if (entry.path().filename().string().starts_with("model-00002")) shard = entry.path();
  }
  ASSERT_FALSE(shard.empty());
  fs::resize_file(shard, fs::file_size(shard) - 100);
  const auto cut = QuantizeCheckpoint(Options(model, "FP8"));
  EXPECT_THAT(cut.status().message(), HasSubstr(shard.filename().string()));
  fs::remove(shard);
  const auto gone = QuantizeCheckpoint(Options(model, "FP8"));
  EXPECT_THAT(gone.status().message(), HasSubstr(shard.filename().string()));
  EXPECT_FALSE(fs::exists(Options(model, "FP8").output));
}

}  // namespace
}  // namespace octavo
