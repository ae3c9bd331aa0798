// SPDX-License-Identifier: Apache-2.0
// Runs the program inside a test and captures what it prints.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"

namespace octavo {

struct Outcome {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// `octavo ARGUMENTS...`
inline Outcome RunOctavo(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"octavo"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int code = RunCommandLine(static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  std::string out = ::testing::internal::GetCapturedStdout();
  return {code, std::move(out), ::testing::internal::GetCapturedStderr()};
}

}  // namespace octavo
