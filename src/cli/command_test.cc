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
    EXPECT_THAT(help.out, HasSubstr(command->name));
    EXPECT_EQ(RunOctavo({command->name, "--help"}).exit_code, 0) << command->name;
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
  const Outcome outcome = RunOctavo({"info", "--json", "/nosuchfolder/out.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nosuchfolder"));
}

TEST(CommandTest, JsonOnStandardOutputIsAlone) {
  const Outcome outcome = RunOctavo({"info", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out.front(), '{');
}

}  // namespace
}  // namespace octavo
