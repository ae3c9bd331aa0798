// SPDX-License-Identifier: Apache-2.0
// Number formatting, memory figures and the progress bar.
#include "cli/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"

namespace octavo {
namespace {

TEST(ReportTest, FormatsBytesAndDurations) {
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(98 * 1024 * 1024), "98.0 MiB");
  EXPECT_EQ(FormatDuration(12.2), "12 s");
  EXPECT_EQ(FormatDuration(245), "4:05");
  EXPECT_EQ(FormatDuration(3723), "1:02:03");
  EXPECT_EQ(FormatDuration(1e300), "?");
}

TEST(ReportTest, PeakRssGrowsWithTouchedMemory) {
  const uint64_t before = PeakRssBytes();
  ASSERT_GT(before, 0u);
  std::vector<char> block(64 << 20, 1);
  EXPECT_GE(PeakRssBytes(), before + (32u << 20)) << static_cast<int>(block[12345]);
}

TEST(ReportTest, JsonReportIsIndentedAndEndsWithNewline) {
  const std::string path = ::testing::TempDir() + "/report_test.json";
  ASSERT_TRUE(WriteJsonReport(path, {{"a", 1}}).ok());
  const Result<std::string> text = ReadFile(path);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "{\n  \"a\": 1\n}\n");
  std::remove(path.c_str());
}

TEST(ProgressBarTest, ShortWorkIsSilentInALog) {
  std::FILE* log = std::tmpfile();
  {
    ProgressBar bar({.label = "work", .stream = log});
    for (uint64_t i = 0; i <= 100; ++i) bar.Update(i, 100);
  }
  EXPECT_EQ(std::ftell(log), 0);
  std::fclose(log);
}

TEST(InterruptTest, FirstSignalSetsTheFlagAndResetClearsIt) {
  InterruptScope scope;
  EXPECT_TRUE(scope.Check().ok());
  std::raise(SIGINT);
  EXPECT_TRUE(scope.requested());
  EXPECT_EQ(scope.Check().code(), StatusCode::kCancelled);
  scope.Reset();
  EXPECT_TRUE(scope.Check().ok());
}

TEST(InterruptTest, SecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        InterruptScope scope;
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      ::testing::ExitedWithCode(130),
      ::testing::IsEmpty());  // a matcher, not a regex: Oniguruma's regcomp shadows libc's
}

}  // namespace
}  // namespace octavo
