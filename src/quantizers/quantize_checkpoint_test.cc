// SPDX-License-Identifier: Apache-2.0
#include "quantizers/quantize_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "base/file.h"
#include "io/shard_index.h"
#include "models/gguf_vocabulary_reader.h"
#include "schemes/open_linear.h"
#include "schemes/test_checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A two-layer model in two shards, with what must not be quantized: an embedding, norms, a bias, an
// untied head and a router.
class QuantizeCheckpointTest : public testing::Test {
 protected:
  static constexpr int64_t kHidden = 192;
  static constexpr int64_t kInner = 384;

  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("octavo_quantize_" + std::to_string(::getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "model");
    Write("config.json", R"({"model_type":"llama","torch_dtype":"bfloat16"})");
    Write("tokenizer.json", "{}");
    Write("tokenizer_config.json", "{\"x\": 1}");
    Write("chat_template.jinja", "{{ x }}");
    Write("pytorch_model.bin", "not carried over");
    std::vector<std::pair<std::string, std::string>> weight_map;
    for (int shard = 0; shard < 2; ++shard) {
      std::vector<std::pair<TensorSpec, std::vector<float>>> tensors;
      const auto add = [&](const std::string& name, const Shape& shape) {
        tensors.push_back({{name, DType::kBF16, shape},
                           RandomWeights(shape.NumElements(), static_cast<uint32_t>(tensors.size() + 1))});
        weight_map.emplace_back(name, ShardFileName(static_cast<size_t>(shard), 2));
      };
      const std::string layer = "model.layers." + std::to_string(shard);
      add(layer + ".mlp.up_proj.weight", Shape{kInner, kHidden});
      add(layer + ".mlp.up_proj.bias", Shape{kInner});
      add(layer + ".mlp.down_proj.weight", Shape{kHidden, kInner});
      add(layer + ".mlp.gate.weight", Shape{4, kHidden});
      add(layer + ".input_layernorm.weight", Shape{kHidden});
      if (shard == 0) add("model.embed_tokens.weight", Shape{100, kHidden});
      if (shard == 1) add("lm_head.weight", Shape{100, kHidden});
      WriteShard(root_ / "model" / ShardFileName(static_cast<size_t>(shard), 2), tensors);
    }
    Write(std::string(kShardIndexName), MakeShardIndexJson(weight_map, 0));
  }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const std::string& name, const std::string& content) {
    ASSERT_TRUE(WriteFileAtomically((root_ / "model" / name).string(), content).ok());
  }
  static void WriteShard(const fs::path& path,
                         const std::vector<std::pair<TensorSpec, std::vector<float>>>& tensors) {
    std::vector<TensorSpec> specs;
    for (const auto& [spec, values] : tensors) specs.push_back(spec);
    auto writer = SafetensorsWriter::Create(path.string(), specs, {});
    ASSERT_TRUE(writer.ok());
    for (const auto& [spec, values] : tensors) {
      std::vector<uint16_t> bits;
      for (const float value : values) bits.push_back(F32ToBf16(value));
      ASSERT_TRUE((*writer)->WriteTensor(spec.name, std::as_bytes(std::span(bits))).ok());
    }
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  QuantizeOptions Options(const std::string& scheme, const std::string& output = "out") const {
    return {.model = (root_ / "model").string(),
            .output = (root_ / output).string(),
            .scheme = scheme,
            .as = {},
            .ignore = {},
            .qoq = {},
            .threads = 2};
  }

  // Name to content of every file.
  static std::map<std::string, std::string> Contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
      auto content = ReadFile(entry.path().string());
      EXPECT_TRUE(content.ok());
      files[entry.path().filename().string()] = content.ok() ? *content : "";
    }
    return files;
  }

  fs::path root_;
};

TEST_F(QuantizeCheckpointTest, WritesEverySchemeSoThatItReadsBack) {
  for (const Scheme* scheme : AllSchemes()) {
    if (!scheme->writable() || scheme->name == "FP8_BLOCK") continue;  // 192 columns: see below
    if (scheme->args.static_input()) continue;                         // static_scales_test.cc
    SCOPED_TRACE(scheme->name);
    auto result = QuantizeCheckpoint(Options(std::string(scheme->name), std::string(scheme->name)));
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    EXPECT_EQ(result->quantized_modules, 4);
    EXPECT_THAT(result->ignored, testing::UnorderedElementsAre("lm_head", "model.layers.0.mlp.gate",
                                                               "model.layers.1.mlp.gate"));
    auto original = Checkpoint::Open(Options("").model);
    auto quantized = Checkpoint::Open((root_ / scheme->name).string());
    ASSERT_TRUE(quantized.ok()) << quantized.status().ToString();
    auto loader = LinearLoader::Create(**quantized);
    ASSERT_TRUE(loader.ok()) << loader.status().ToString();
    for (const std::string module : {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"}) {
      auto source = loader->OpenLinear(module);
      ASSERT_TRUE(source.ok()) << source.status().ToString();
      EXPECT_EQ((*source)->info().scheme, scheme->name);
      const auto size = static_cast<size_t>((*source)->spec().n * (*source)->spec().k);
      std::vector<float> values(size), want(size);
      ASSERT_TRUE((*source)->DequantizeRows(0, (*source)->spec().n, values.data()).ok());
      const StoredTensor* tensor = (*original)->Find(module + ".weight");
      ASSERT_TRUE((*original)->ReadRowsF32(*tensor, 0, tensor->rows(), want.data()).ok());
      double error = 0;
      double norm = 0;
      for (size_t i = 0; i < size; ++i) {
        error += std::pow(values[i] - want[i], 2);
        norm += std::pow(want[i], 2);
      }
      // 3-bit groups of outlier-rich weights are the coarsest; an order mistake gives about 2.
      EXPECT_LT(error / norm, 0.2);
    }
    for (const std::string module : {"lm_head", "model.layers.0.mlp.gate"}) {
      auto source = loader->OpenLinear(module);
      ASSERT_TRUE(source.ok()) << source.status().ToString();
      EXPECT_EQ((*source)->info().scheme, "dense");
    }
  }
}

TEST_F(QuantizeCheckpointTest, CarriesFilesOverAndKeepsShards) {
  ASSERT_TRUE(QuantizeCheckpoint(Options("W8A8")).ok());
  const auto files = Contents(root_ / "out");
  EXPECT_EQ(files.size(), 8u);
  EXPECT_THAT(files.at("octavo_quantize.json"), HasSubstr("\"algorithm\": \"rtn\""));
  EXPECT_EQ(files.count("pytorch_model.bin"), 0u);
  EXPECT_EQ(files.at("tokenizer_config.json"), "{\"x\": 1}");
  EXPECT_EQ(files.at("chat_template.jinja"), "{{ x }}");
  auto config = ParseJson(files.at("config.json"));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["dtype"], "bfloat16");
  EXPECT_EQ((*config)["quantization_config"]["format"], "int-quantized");
  auto index = ParseJson(files.at(std::string(kShardIndexName)));
  ASSERT_TRUE(index.ok());
  EXPECT_EQ((*index)["weight_map"]["model.layers.1.mlp.up_proj.weight_scale"],
            "model-00002-of-00002.safetensors");
}

TEST_F(QuantizeCheckpointTest, TakesTheLargestGroupThatFits) {
  auto result = QuantizeCheckpoint(Options("W4A16"));
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->wanted_group_size, 128);
  EXPECT_EQ(result->group_size, 64);  // 192 columns
  QuantizeOptions strict = Options("W4A16", "strict");
  strict.strict = true;
  const Status status = QuantizeCheckpoint(strict).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("up_proj has 192 columns; 64 would"));
  EXPECT_FALSE(fs::exists(root_ / "strict"));
  strict.group_size = 96;  // any multiple of 16 may be asked for
  EXPECT_TRUE(QuantizeCheckpoint(strict).ok());
}

TEST_F(QuantizeCheckpointTest, StoresQoqAsTheSameValuesInW8A8) {
  ASSERT_TRUE(QuantizeCheckpoint(Options("QOQ_G128", "qoq")).ok());
  QuantizeOptions options = Options("QOQ_G128", "w8a8");
  options.as = "W8A8";
  auto result = QuantizeCheckpoint(options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->stored_as, "W8A8");
  auto a = Checkpoint::Open((root_ / "qoq").string());
  auto b = Checkpoint::Open((root_ / "w8a8").string());
  ASSERT_TRUE(a.ok() && b.ok());
  auto qoq = LinearLoader::Create(**a);
  auto w8a8 = LinearLoader::Create(**b);
  ASSERT_TRUE(qoq.ok() && w8a8.ok());
  for (const std::string module : {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"}) {
    auto x = qoq->OpenLinear(module);
    auto y = w8a8->OpenLinear(module);
    ASSERT_TRUE(x.ok() && y.ok());
    EXPECT_EQ((*y)->info().scheme, "W8A8");
    std::vector<float> from_qoq(static_cast<size_t>(kHidden * kInner)), from_w8a8(from_qoq.size());
    ASSERT_TRUE((*x)->DequantizeRows(0, (*x)->spec().n, from_qoq.data()).ok());
    ASSERT_TRUE((*y)->DequantizeRows(0, (*y)->spec().n, from_w8a8.data()).ok());
    EXPECT_EQ(from_qoq, from_w8a8);
  }
  options.scheme = "W4A16";
  EXPECT_EQ(QuantizeCheckpoint(options).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(QuantizeCheckpointTest, IgnoresByExpression) {
  QuantizeOptions options = Options("FP8_DYNAMIC");
  options.ignore = {"model.layers.0", ".*down_proj"};
  auto result = QuantizeCheckpoint(options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->quantized_modules, 1);
  EXPECT_THAT(result->ignored, testing::Contains("model.layers.1.mlp.down_proj"));
  options.ignore = {"model"};
  options.overwrite = true;
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("no linear layer is left"));
}

// Interrupted at every possible call of the progress function, then resumed: always the same bytes.
TEST_F(QuantizeCheckpointTest, ResumesAfterCancelToTheSameBytes) {
  ASSERT_TRUE(QuantizeCheckpoint(Options("W4A16", "whole")).ok());
  const auto want = Contents(root_ / "whole");
  bool cancelled = true;
  for (int after = 1; cancelled; ++after) {
    std::atomic<bool> cancel = false;
    int calls = 0;
    QuantizeOptions options = Options("W4A16");
    options.cancel = &cancel;
    const auto stop = [&](uint64_t, uint64_t) { cancel = ++calls >= after; };
    const Status status = QuantizeCheckpoint(options, stop).status();
    cancelled = !status.ok();
    if (cancelled) {
      EXPECT_EQ(status.code(), StatusCode::kCancelled);
      EXPECT_FALSE(fs::exists(root_ / "out"));
      options.cancel = nullptr;
      options.resume = true;
      auto resumed = QuantizeCheckpoint(options);
      ASSERT_TRUE(resumed.ok()) << resumed.status().ToString();
      if (after > 6) {
        EXPECT_GT(resumed->resumed_bytes, 0u);
      }
    }
    EXPECT_EQ(Contents(root_ / "out"), want) << after;
    fs::remove_all(root_ / "out");
  }
}

TEST_F(QuantizeCheckpointTest, ResumesAfterKillToTheSameBytes) {
  ASSERT_TRUE(QuantizeCheckpoint(Options("W8A8", "whole")).ok());
  const auto want = Contents(root_ / "whole");
  for (const int after : {1, 3, 7, 9}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int calls = 0;
      (void)QuantizeCheckpoint(Options("W8A8"), [&](uint64_t, uint64_t) {
        if (++calls == after) ::kill(::getpid(), SIGKILL);
      });
      ::_exit(0);
    }
    int state = 0;
    ASSERT_EQ(::waitpid(child, &state, 0), child);
    ASSERT_TRUE(WIFSIGNALED(state));
    EXPECT_FALSE(fs::exists(root_ / "out"));
    QuantizeOptions options = Options("W8A8");
    options.resume = true;
    auto resumed = QuantizeCheckpoint(options);
    ASSERT_TRUE(resumed.ok()) << resumed.status().ToString();
    EXPECT_EQ(Contents(root_ / "out"), want);
    EXPECT_FALSE(fs::exists(root_ / "out.partial"));
    fs::remove_all(root_ / "out");
  }
}

TEST_F(QuantizeCheckpointTest, ResumeRefusesAnotherRunAndAFreshRunReplacesIt) {
  std::atomic<bool> cancel = true;
  QuantizeOptions options = Options("W8A8");
  options.cancel = &cancel;
  ASSERT_EQ(QuantizeCheckpoint(options).status().code(), StatusCode::kCancelled);
  QuantizeOptions other = Options("FP8_DYNAMIC");
  other.resume = true;
  EXPECT_EQ(QuantizeCheckpoint(other).status().code(), StatusCode::kFailedPrecondition);
  other.resume = false;
  EXPECT_TRUE(QuantizeCheckpoint(other).ok());
}

TEST_F(QuantizeCheckpointTest, LeavesForeignFoldersAlone) {
  fs::create_directories(root_ / "out");
  std::ofstream(root_ / "out" / "notes.txt") << "mine";
  QuantizeOptions options = Options("W8A8");
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("not empty"));
  options.overwrite = true;
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("no checkpoint"));
  EXPECT_TRUE(fs::exists(root_ / "out" / "notes.txt"));
  fs::remove_all(root_ / "out");
  fs::create_directories(root_ / "out.partial");
  std::ofstream(root_ / "out.partial" / "notes.txt") << "mine";
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("move it away"));
  options.output = (root_ / "model").string();
  EXPECT_THAT(QuantizeCheckpoint(options).status().message(), HasSubstr("holds the model"));
}

TEST_F(QuantizeCheckpointTest, OverwriteReplacesTheWholeFolder) {
  ASSERT_TRUE(QuantizeCheckpoint(Options("W8A8")).ok());
  std::ofstream(root_ / "out" / "stale.txt") << "old";
  QuantizeOptions options = Options("W4A16");
  EXPECT_EQ(QuantizeCheckpoint(options).status().code(), StatusCode::kFailedPrecondition);
  options.overwrite = true;
  ASSERT_TRUE(QuantizeCheckpoint(options).ok());
  EXPECT_FALSE(fs::exists(root_ / "out" / "stale.txt"));
  EXPECT_FALSE(fs::exists(root_ / "out.replaced"));
}

TEST_F(QuantizeCheckpointTest, RefusesWhatMakesNoSense) {
  EXPECT_THAT(QuantizeCheckpoint(Options("W9A9")).status().message(), HasSubstr("W4A16_ASYM"));
  EXPECT_THAT(QuantizeCheckpoint(Options("FP8_A16")).status().message(), HasSubstr("cannot be written"));
  QuantizeOptions grouped = Options("W8A8");
  grouped.group_size = 64;
  EXPECT_THAT(QuantizeCheckpoint(grouped).status().message(), HasSubstr("has no groups"));
  EXPECT_THAT(QuantizeCheckpoint(Options("FP8_BLOCK")).status().message(),
              HasSubstr("up_proj has 192 columns"));
  ASSERT_TRUE(QuantizeCheckpoint(Options("W8A8")).ok());
  QuantizeOptions again = Options("W8A8", "twice");
  again.model = (root_ / "out").string();
  EXPECT_THAT(QuantizeCheckpoint(again).status().message(), HasSubstr("quantized already"));
}

// The folder made from a GGUF stands for the file: same tokens, and the bf16 view of its weights.
TEST(QuantizeGgufTest, MakesAFolderThatTokenizesAlike) {
  const char* models = std::getenv("OCTAVO_MODELS");
  const char* home = std::getenv("HOME");
  const fs::path root = models != nullptr ? fs::path(models)
                                          : fs::path(home == nullptr ? "" : home) / ".cache/octavo-models";
  const std::string gguf = (root / "gguf/smollm2-135m.gguf").string();
  if (!fs::exists(gguf)) GTEST_SKIP() << gguf << " is missing (set OCTAVO_MODELS)";
  const fs::path out = fs::path(testing::TempDir()) / ("octavo_gguf_" + std::to_string(::getpid()));
  const QuantizeOptions options{
      .model = gguf, .output = out.string(), .scheme = "W8A8", .as = {}, .ignore = {}, .qoq = {}};
  auto result = QuantizeCheckpoint(options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->quantized_modules, 210);

  auto source = Checkpoint::Open(gguf);
  ASSERT_TRUE(source.ok());
  auto vocabulary = ReadGgufVocabulary(*(*source)->gguf());
  ASSERT_TRUE(vocabulary.ok());
  auto from_gguf = Tokenizer::FromGguf(*vocabulary);
  auto from_folder = Tokenizer::FromFile((out / "tokenizer.json").string());
  ASSERT_TRUE(from_folder.ok()) << from_folder.status().ToString();
  ASSERT_TRUE(from_gguf.ok());
  for (const std::string text : {"Hello, world 123!", "<|im_start|>user\nGrüße 你好 🙂<|im_end|>", " \t x"}) {
    EXPECT_EQ(*(*from_folder)->Encode(text, true), *(*from_gguf)->Encode(text, true));
  }

  auto quantized = Checkpoint::Open(out.string());
  ASSERT_TRUE(quantized.ok()) << quantized.status().ToString();
  const std::string norm = "model.layers.3.input_layernorm.weight";
  const StoredTensor* from = (*source)->Find(norm);
  const StoredTensor* to = (*quantized)->Find(norm);
  ASSERT_TRUE(from != nullptr && to != nullptr);
  EXPECT_EQ(to->dtype, DType::kBF16);
  std::vector<uint16_t> a(static_cast<size_t>(from->rows())), b(a.size());
  ASSERT_TRUE((*source)->ReadRowsBf16(*from, 0, from->rows(), a.data()).ok());
  ASSERT_TRUE((*quantized)->ReadRowsBf16(*to, 0, to->rows(), b.data()).ok());
  EXPECT_EQ(a, b);
  // Q rows are interleaved in the file; online quantization of the GGUF must agree with the folder.
  auto online = LinearLoader::Create(**source, "int8");
  auto stored = LinearLoader::Create(**quantized);
  ASSERT_TRUE(online.ok() && stored.ok());
  auto x = online->OpenLinear("model.layers.5.self_attn.q_proj");
  auto y = stored->OpenLinear("model.layers.5.self_attn.q_proj");
  ASSERT_TRUE(x.ok() && y.ok());
  WeightRows rows_x, rows_y;
  ASSERT_TRUE((*x)->ReadRows(0, (*x)->spec().n, rows_x).ok());
  ASSERT_TRUE((*y)->ReadRows(0, (*y)->spec().n, rows_y).ok());
  EXPECT_EQ(rows_x.codes, rows_y.codes);
  EXPECT_EQ(rows_x.scales, rows_y.scales);
  fs::remove_all(out);
}

}  // namespace
}  // namespace octavo
