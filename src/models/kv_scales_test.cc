// SPDX-License-Identifier: Apache-2.0
// Scales of an FP8 KV cache: the names they are stored under and what absent ones mean.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "io/safetensors_writer.h"
#include "io/shard_index.h"
#include "models/load_model.h"
#include "models/model_runner.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

using Scales = std::map<std::string, std::vector<float>>;  // by name below model.layers.1.self_attn

// The tiny Llama of tests/golden with a shard of scales beside its own.
class KvScalesTest : public testing::Test {
 protected:
  ~KvScalesTest() override {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }

  Result<std::shared_ptr<const Model>> Load(const Scales& scales) {
    static int counter = 0;
    root_ = fs::path(testing::TempDir()) /
            ("octavo_kv_scales_" + std::to_string(::getpid()) + "_" + std::to_string(counter++));
    fs::copy(fs::path(OCTAVO_SOURCE_DIR) / "tests/golden/llama/plain", root_,
             fs::copy_options::recursive);
    auto original = Checkpoint::Open(root_.string());
    if (!original.ok()) return original.status();
    std::vector<std::pair<std::string, std::string>> map;
    for (const StoredTensor& tensor : (*original)->tensors()) {
      map.emplace_back(tensor.name, "weights.safetensors");
    }
    // The file that a folder without an index has goes before an index.
    fs::rename(root_ / "model.safetensors", root_ / "weights.safetensors");
    std::vector<TensorSpec> specs;
    for (const auto& [name, values] : scales) {
      specs.push_back({"model.layers.1.self_attn." + name, DType::kF32,
                       Shape{static_cast<int64_t>(values.size())}});
      map.emplace_back(specs.back().name, "scales.safetensors");
    }
    auto writer = SafetensorsWriter::Create((root_ / "scales.safetensors").string(), specs, {});
    if (!writer.ok()) return writer.status();
    for (const auto& [name, values] : scales) {
      OCTAVO_RETURN_IF_ERROR((*writer)->WriteTensor("model.layers.1.self_attn." + name,
                                                    std::as_bytes(std::span(values))));
    }
    OCTAVO_RETURN_IF_ERROR((*writer)->Finish());
    OCTAVO_RETURN_IF_ERROR(WriteFileAtomically((root_ / kShardIndexName).string(),
                                               MakeShardIndexJson(map, 0)));
    return LoadModel(root_.string(), {}, DetectedIsa(), pool_);
  }

  std::pair<float, float> ScalesOfLayer1(const Scales& scales) {
    const auto model = Load(scales);
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    if (!model.ok()) return {};
    const auto layers = (*model)->kv_layers();
    EXPECT_EQ(layers[0].k_scale, 1.0f);
    return {layers[1].k_scale, layers[1].v_scale};
  }

  fs::path root_;
  ThreadPool pool_{2};
};

TEST_F(KvScalesTest, ReadsEveryNameAndFillsWhatIsAbsent) {
  using Pair = std::pair<float, float>;
  EXPECT_EQ(ScalesOfLayer1({{"k_scale", {0.5f}}, {"v_scale", {0.25f}}}), Pair(0.5f, 0.25f));
  EXPECT_EQ(ScalesOfLayer1({{"k_proj.k_scale", {3}}, {"v_proj.v_scale", {4}}}), Pair(3, 4));
  EXPECT_EQ(ScalesOfLayer1({{"k_proj.output_scale", {3}}, {"v_proj.output_scale", {4}}}), Pair(3, 4));
  EXPECT_EQ(ScalesOfLayer1({{"kv_scale", {0.125f}}}), Pair(0.125f, 0.125f));
  EXPECT_EQ(ScalesOfLayer1({{"v_scale", {0.25f}}}), Pair(0.25f, 0.25f));
  EXPECT_EQ(ScalesOfLayer1({{"k_scale", {-1}}, {"v_scale", {-1}}}), Pair(1, 1));
}

TEST_F(KvScalesTest, RefusesWhatIsNoScale) {
  EXPECT_EQ(Load({{"k_scale", {1, 2}}}).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Load({{"k_scale", {NAN}}}).status().code(), StatusCode::kDataLoss);
}

// Logits of the last token.
std::vector<float> Logits(const std::shared_ptr<const Model>& model, ThreadPool& pool,
                          KvDType dtype = KvDType::kFp8E4M3) {
  const RunnerOptions options{dtype, 32, 4, 32};
  auto runner = ModelRunner::Create(model, options, DetectedIsa(), pool);
  EXPECT_TRUE(runner.ok()) << runner.status().ToString();
  ForwardBatch batch;
  const int32_t block = 0;
  for (int32_t i = 0; i < 24; ++i) {
    batch.tokens.push_back(3 * i + 1);
    batch.positions.push_back(i);
  }
  batch.sequences = {{{.row_begin = 0, .num_tokens = 24, .position = 0, .block_table = &block}}};
  std::vector<float> logits(static_cast<size_t>(model->config().vocab_size));
  const std::vector<int64_t> rows = {23};
  EXPECT_TRUE((*runner)->Forward(batch).ok());
  (*runner)->Logits(rows, logits.data());
  return logits;
}

// A scale so large that every code is zero wipes the layer's attention out: the values are used.
TEST_F(KvScalesTest, TheCacheStoresWithThem) {
  const auto plain = Load({});
  ASSERT_TRUE(plain.ok());
  const std::vector<float> want = Logits(*plain, pool_);
  const auto fine = Load({{"k_scale", {0.5f}}, {"v_scale", {0.5f}}});  // exact: a power of two
  const auto coarse = Load({{"k_scale", {1e6f}}, {"v_scale", {1e6f}}});
  ASSERT_TRUE(fine.ok() && coarse.ok());
  const std::vector<float> close = Logits(*fine, pool_);
  const std::vector<float> far = Logits(*coarse, pool_);
  double near_error = 0;
  double far_error = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    near_error += std::fabs(static_cast<double>(close[i]) - static_cast<double>(want[i]));
    far_error += std::fabs(static_cast<double>(far[i]) - static_cast<double>(want[i]));
  }
  EXPECT_GT(far_error, 0);
  EXPECT_LT(near_error, far_error / 4);
}

TEST_F(KvScalesTest, OtherCachesIgnoreThem) {
  const auto plain = Load({});
  const auto scaled = Load({{"k_scale", {0.03f}}, {"v_scale", {7}}});
  ASSERT_TRUE(plain.ok() && scaled.ok());
  for (const KvDType dtype : {KvDType::kF32, KvDType::kBf16, KvDType::kFp8E5M2, KvDType::kInt8}) {
    EXPECT_EQ(Logits(*scaled, pool_, dtype), Logits(*plain, pool_, dtype));
  }
}

}  // namespace
}  // namespace octavo
