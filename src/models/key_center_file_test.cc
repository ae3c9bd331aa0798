// SPDX-License-Identifier: Apache-2.0
// octavo_kv_cache.json: what was written comes back, and what makes no sense is refused.
#include "models/key_center_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"

namespace octavo {
namespace {

class KeyCenterFileTest : public testing::Test {
 protected:
  Result<KeyCenters> Read(const std::string& text) {
    const std::string path = testing::TempDir() + "/octavo_kv_cache_" + std::to_string(::getpid()) + ".json";
    EXPECT_TRUE(WriteFileAtomically(path, text).ok());
    return ReadKeyCenters(path);
  }
};

TEST_F(KeyCenterFileTest, ComesBackAsWritten) {
  const KeyCenters centers = {{"model.layers.0.self_attn", {0.1f, -3e-9f, 250.0f}}, {"b", {}}};
  const auto read = Read(FormatKeyCenters(centers));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, centers);
}

TEST_F(KeyCenterFileTest, AbsentMeansNone) {
  const auto absent = ReadKeyCenters(testing::TempDir() + "/no_such_folder/octavo_kv_cache.json");
  ASSERT_TRUE(absent.ok());
  EXPECT_TRUE(absent->empty());
  EXPECT_TRUE(Read("{}").value().empty());
}

TEST_F(KeyCenterFileTest, RefusesWhatIsNoCenter) {
  for (const char* text : {"", "[", R"({"key_center": 3})", R"({"key_center": {"a": 1}})",
                           R"({"key_center": {"a": ["x"]}})", R"({"key_center": {"a": [1e99]}})",
                           R"({"key_center": {"a": [null]}})"}) {
    EXPECT_FALSE(Read(text).ok()) << text;
  }
  EXPECT_THAT(Read(R"({"key_center": {"layer": [true]}})").status().message(),
              testing::HasSubstr("'layer' holds true"));
}

}  // namespace
}  // namespace octavo
