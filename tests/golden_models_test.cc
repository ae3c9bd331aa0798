// SPDX-License-Identifier: Apache-2.0
// Every architecture against transformers: tiny random models in tests/golden/ARCH/VARIANT with the
// f32 logits that transformers computes for them (made by tests/golden/make_tiny_models.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "io/safetensors_reader.h"
#include "metrics/kl.h"
#include "models/load_model.h"
#include "models/teacher_forcing.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(OCTAVO_SOURCE_DIR) / "tests" / "golden";

struct Expected {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab_size]
};

// "llama/plain", for every folder with expected.safetensors.
std::vector<std::string> GoldenModels() {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(kGolden)) {
    if (entry.path().filename() != "expected.safetensors") continue;
    names.push_back(fs::relative(entry.path().parent_path(), kGolden).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <typename T>
std::vector<T> ReadTensor(const SafetensorsReader& file, std::string_view name) {
  const SafetensorsEntry* entry = file.Find(name);
  if (entry == nullptr) {
    ADD_FAILURE() << file.file().path() << ": no tensor " << name;
    return {};
  }
  std::vector<T> values(entry->bytes / sizeof(T));
  EXPECT_TRUE(file.file().ReadRange(entry->offset, entry->bytes, values.data()).ok());
  return values;
}

Expected ReadExpected(const fs::path& folder) {
  const auto file = SafetensorsReader::Open((folder / "expected.safetensors").string());
  if (!file.ok()) {
    ADD_FAILURE() << file.status().message();
    return {};
  }
  const std::vector<int64_t> tokens = ReadTensor<int64_t>(*file, "token_ids");
  return {{tokens.begin(), tokens.end()}, ReadTensor<float>(*file, "logits")};
}

// Octavo's logits for the tokens; empty, with a test failure, on an error.
std::vector<float> ComputeLogits(const fs::path& folder, ComputeDType dtype, KvDType kv_dtype,
                                 const std::vector<int32_t>& tokens) {
  ThreadPool pool(2);
  const Result<IsaLevel> isa = ActiveIsa();
  EXPECT_TRUE(isa.ok());
  LoadOptions options;
  options.dtype = dtype;
  auto model = LoadModel(folder.string(), options, *isa, pool);
  if (!model.ok()) {
    ADD_FAILURE() << model.status().message();
    return {};
  }
  const auto length = static_cast<int64_t>(tokens.size());
  auto forcing = TeacherForcing::Create(*model, length, kv_dtype, *isa, pool);
  if (!forcing.ok()) {
    ADD_FAILURE() << forcing.status().message();
    return {};
  }
  std::vector<float> logits;
  const int64_t vocab_size = (*model)->config().vocab_size;
  const Status status = forcing->Run(tokens, [&](int64_t, int64_t count, const float* rows) {
    logits.insert(logits.end(), rows, rows + count * vocab_size);
    return Status::Ok();
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return logits;
}

class GoldenModelsTest : public ::testing::TestWithParam<std::string> {};

// The sums run in another order than in transformers; with logits up to about 15 and sums of at most
// 96 terms, f32 rounding stays below 1e-4 on every model, and a wrong formula is far above it.
constexpr float kF32Tolerance = 1e-4f;

TEST_P(GoldenModelsTest, LogitsEqualTransformersInF32) {
  const fs::path folder = kGolden / GetParam();
  const Expected expected = ReadExpected(folder);
  const std::vector<float> logits =
      ComputeLogits(folder, ComputeDType::kFloat32, KvDType::kF32, expected.tokens);
  ASSERT_EQ(logits.size(), expected.logits.size());
  float largest = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_TRUE(std::isfinite(logits[i])) << "at " << i;
    largest = std::max(largest, std::abs(logits[i] - expected.logits[i]));
  }
  EXPECT_LE(largest, kF32Tolerance);
}

// bf16 arithmetic on a random model of two layers: each of about 10 roundings per layer moves a value
// by 2^-9 of itself, and logits have a standard deviation of 1 to 4.
constexpr double kBf16MeanKl = 5e-3;

TEST_P(GoldenModelsTest, Bf16StaysCloseToF32) {
  const fs::path folder = kGolden / GetParam();
  const Expected expected = ReadExpected(folder);
  const std::vector<float> logits =
      ComputeLogits(folder, ComputeDType::kBfloat16, KvDType::kBf16, expected.tokens);
  ASSERT_EQ(logits.size(), expected.logits.size());
  const size_t vocab_size = logits.size() / expected.tokens.size();
  DivergenceMeter meter;
  for (size_t row = 0; row < expected.tokens.size(); ++row) {
    meter.Add(std::span(expected.logits).subspan(row * vocab_size, vocab_size),
              std::span(logits).subspan(row * vocab_size, vocab_size));
  }
  EXPECT_LE(meter.mean_kl(), kBf16MeanKl);
  EXPECT_EQ(meter.top1_agreement_above(0.25f), 1.0);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModelsTest, ::testing::ValuesIn(GoldenModels()),
                         [](const auto& test_case) {
                           std::string name = test_case.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; },
                               '_');
                           return name;
                         });

TEST(GoldenDataTest, EveryArchitectureHasAGoldenModel) {
  std::set<std::string> covered;
  for (const std::string& name : GoldenModels()) covered.insert(name.substr(0, name.find('/')));
  for (const ModelArch* arch : AllArchs()) {
    EXPECT_TRUE(covered.contains(std::string(arch->name)))
        << "architecture '" << arch->name << "' has no folder in tests/golden/; add it to "
        << "make_tiny_models.py";
  }
}

}  // namespace
}  // namespace octavo
