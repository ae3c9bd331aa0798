// SPDX-License-Identifier: Apache-2.0
// Modules that compressed-tensors wrote (tests/golden/make_schemes.py), dequantized bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>
#include <string>
#include <vector>

#include "schemes/open_linear.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Forms() {
  std::vector<std::string> names;
  const fs::path folder = fs::path(OCTAVO_SOURCE_DIR) / "tests/golden/schemes";
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class CompressedGoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(CompressedGoldenTest, DequantizesLikeCompressedTensors) {
  const fs::path folder = fs::path(OCTAVO_SOURCE_DIR) / "tests/golden/schemes" / GetParam();
  auto checkpoint = Checkpoint::Open(folder.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
  auto loader = LinearLoader::Create(**checkpoint);
  ASSERT_TRUE(loader.ok()) << loader.status().ToString();
  auto source = loader->OpenLinear("layer");
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  const StoredTensor* expected = (*checkpoint)->Find("expected.weight");
  ASSERT_NE(expected, nullptr);
  const int64_t n = expected->rows();
  const int64_t k = expected->cols();
  ASSERT_EQ((*source)->spec().n, n);
  ASSERT_EQ((*source)->spec().k, k);
  std::vector<float> want(static_cast<size_t>(n * k)), have(want.size());
  ASSERT_TRUE((*checkpoint)->ReadRowsF32(*expected, 0, n, want.data()).ok());
  // In two uneven ranges: zero points and blocks are cut inside their words.
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 5}, {5, n - 5}}) {
    const Status status = (*source)->DequantizeRows(begin, count, have.data() + begin * k);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(have[i] + 0.0f), std::bit_cast<uint32_t>(want[i] + 0.0f)) << i;
  }
  // What kernels see agrees to the rounding of the scale's type.
  WeightRows rows;
  ASSERT_TRUE((*source)->ReadRows(0, n, rows).ok());
  std::vector<float> kernel(want.size());
  DequantizeWeightRows((*source)->spec(), rows, DType::kF32, kernel.data());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(kernel[i], want[i], std::abs(want[i]) * 0x1p-8 + 1e-7) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, CompressedGoldenTest, testing::ValuesIn(Forms()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace octavo
