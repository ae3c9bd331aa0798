// SPDX-License-Identifier: Apache-2.0
#include "hub/file_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace octavo::hub {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<RepoFile> Files(std::initializer_list<const char*> paths) {
  std::vector<RepoFile> files;
  for (const char* path : paths) files.push_back({.path = path});
  return files;
}

std::vector<std::string> Select(const std::vector<RepoFile>& files, const FileFilter& filter = {},
                                const std::string& file = "") {
  const auto selected = SelectFiles(files, {.repository = "a/b", .file = file}, filter);
  if (!selected.ok()) return {selected.status().message()};
  std::vector<std::string> paths;
  for (const RepoFile& each : *selected) paths.push_back(each.path);
  return paths;
}

TEST(FileSelectionTest, TakesWhatTheEngineReadsWeightsLast) {
  EXPECT_THAT(
      Select(Files({"model.safetensors", ".gitattributes", "config.json", "tokenizer.model",
                    "merges.txt", "notes.txt", "model.bin", "sub/x.json", "t.jinja"})),
      ElementsAre("config.json", "tokenizer.model", "merges.txt", "t.jinja", "model.safetensors"));
}

TEST(FileSelectionTest, LeavesOutTheConsolidatedCopyOnly) {
  EXPECT_THAT(Select(Files({"consolidated.safetensors", "model-1.safetensors"})),
              ElementsAre("model-1.safetensors"));
  EXPECT_THAT(Select(Files({"consolidated.safetensors"})), ElementsAre("consolidated.safetensors"));
}

TEST(FileSelectionTest, PatternsMatchWholePathsAndFolders) {
  const auto files = Files({"a/x.json", "a/y.gguf", "b/x.json", "x.bin"});
  EXPECT_THAT(Select(files, {.include = {"*.json"}}), ElementsAre("a/x.json", "b/x.json"));
  EXPECT_THAT(Select(files, {.include = {"a/"}, .exclude = {"*.json"}}), ElementsAre("a/y.gguf"));
  EXPECT_THAT(Select(files, {.include = {"*"}}), ElementsAre("a/x.json", "b/x.json", "a/y.gguf"));
  EXPECT_THAT(Select(files, {}, "a/y.gguf"), ElementsAre("a/y.gguf"));
}

TEST(FileSelectionTest, SaysWhatThereIsInstead) {
  EXPECT_THAT(Select(Files({"x.gguf", "config.json"})),
              ElementsAre(HasSubstr("a/b:FILE.gguf; it has x.gguf")));
  EXPECT_THAT(Select(Files({"m.bin", "config.json"})), ElementsAre(HasSubstr("never read")));
  EXPECT_THAT(Select(Files({"config.json"})), ElementsAre(HasSubstr("no safetensors and no GGUF")));
  EXPECT_THAT(Select(Files({"m.bin"}), {}, "m.bin"), ElementsAre(HasSubstr("never fetched")));
  EXPECT_THAT(Select(Files({"x.gguf"}), {}, "y.gguf"), ElementsAre(HasSubstr("it has x.gguf")));
}

}  // namespace
}  // namespace octavo::hub
