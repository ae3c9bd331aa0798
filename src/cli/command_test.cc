// SPDX-License-Identifier: Apache-2.0
// Exit codes and the list of commands.
#include "cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <vector>

#include "cli/testing.h"

namespace octavo {
namespace {

using ::testing::HasSubstr;

TEST(CommandTest, EveryCommandFileIsListed) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(OCTAVO_SOURCE_DIR "/src/cli")) {
    files += entry.path().string().ends_with("_command.cc");
  }
  EXPECT_EQ(AllCommands().size(), files);
  std::set<std::string> names;
  for (const Command* command : AllCommands()) names.insert(command->name);
  EXPECT_EQ(names.size(), files) << "two commands share a name";
}

TEST(CommandTest, HelpNamesEveryCommandAndSucceeds) {
  const Outcome help = RunOctavo({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const Command* command : AllCommands()) {
    // "bench serve" is `serve` in the group `bench`; the group's own help names it.
    const std::string name = command->name;
    const size_t space = name.find(' ');
    EXPECT_THAT(help.out, HasSubstr(name.substr(0, space)));
    if (space == std::string::npos) {
      EXPECT_EQ(RunOctavo({command->name, "--help"}).exit_code, 0) << name;
      continue;
    }
    const std::string group = name.substr(0, space);
    const std::string leaf = name.substr(space + 1);
    EXPECT_THAT(RunOctavo({group.c_str(), "--help"}).out, HasSubstr(leaf));
    EXPECT_EQ(RunOctavo({group.c_str(), leaf.c_str(), "--help"}).exit_code, 0) << name;
  }
}

TEST(CommandTest, VersionGoesToStandardOutput) {
  const Outcome version = RunOctavo({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, HasSubstr("octavo " OCTAVO_VERSION));
}

TEST(CommandTest, WrongUsageExitsWithTwo) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {}, {"nosuchcommand"}, {"--nosuchoption"}, {"info", "--nosuchoption"}}) {
    const Outcome outcome = RunOctavo(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("octavo: error: "));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(CommandTest, FailureExitsWithOneAndNamesTheFile) {
  const Outcome outcome = RunOctavo({"info", "--quick", "--json", "/nosuchfolder/out.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nosuchfolder"));
}

TEST(CommandTest, JsonOnStandardOutputIsAlone) {
  const Outcome outcome = RunOctavo({"info", "--quick", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out.front(), '{');
}

}  // namespace
}  // namespace octavo
