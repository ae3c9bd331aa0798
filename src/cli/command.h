// SPDX-License-Identifier: Apache-2.0
// What a subcommand of the `octavo` program is, and how a new one is added.
//
// One file per subcommand: src/cli/<name>_command.cc defines
//
//   namespace octavo {
//   extern const Command kCommand_<name>_command = {"<name>", CommandGroup::kRun, "What it does",
//                                                   &Configure};
//   }
//
// CMake finds the file by its name (cmake/plugin_list.cmake); nothing else changes. The whole program
// speaks one language to the shell:
//   exit code 0    done
//   exit code 1    failed; one line `octavo: error: ...` on standard error
//   exit code 2    wrong usage, found before any work started
//   exit code 130  interrupted by Ctrl-C
// Results go to standard output, everything else (progress, statistics, warnings) to standard error.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>

#include "octavo/status.h"

namespace octavo {

// The heading in `octavo --help` under which a command appears.
enum class CommandGroup { kRun, kMake, kMeasure, kLook, kDevelop };

// The work of a command, called once after its options were parsed. A status of kCancelled exits with
// 130; every other error with 1. UsageError() (below) exits with 2.
using CommandAction = std::function<Status()>;

// One subcommand. Immutable.
struct Command {
  const char* name;         // "generate"; "bench model" is the command `model` under `bench`
  CommandGroup group;
  const char* description;  // one line without a full stop
  // Adds the command's options to `app` (already named and described) and returns the work. Options
  // live in the returned closure, usually as a std::shared_ptr to an options struct.
  CommandAction (*configure)(CLI::App& app);
};

// All commands of this build, ordered by file name.
std::span<const Command* const> AllCommands();

// An error in how the command was called that only shows after parsing, such as two options that
// exclude each other: exits with 2 instead of 1.
Status UsageError(std::string message);

// Runs the program: parses `argv`, runs one command, prints its error. Returns the exit code.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace octavo
