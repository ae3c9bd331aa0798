// SPDX-License-Identifier: Apache-2.0
// The list of subcommands and the way from argv to an exit code.
#include "cli/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

namespace octavo {

#define OCTAVO_COMMAND(stem) extern const Command kCommand_##stem;
#include "command_list.inc"
#undef OCTAVO_COMMAND

namespace {

#define OCTAVO_COMMAND(stem) &kCommand_##stem,
constexpr auto kCommands = std::to_array<const Command*>({
#include "command_list.inc"
});
#undef OCTAVO_COMMAND

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;  // 128 + SIGINT, what shells expect

// Marks usage errors on their way through Status, which has no code for them.
constexpr std::string_view kUsagePrefix = "usage: ";

constexpr std::array<const char*, 5> kGroupNames = {
    "Run a model", "Make a model smaller", "Measure", "Look inside", "For developers"};

constexpr const char* kFooter = R"(Start here:
  octavo generate MODEL -p "The capital of France is"
  octavo quantize MODEL --scheme W4A16 -o OUT
MODEL is a Hugging Face folder (config.json and safetensors), a GGUF file, or ORG/NAME on the hub.
`octavo COMMAND --help` explains one command.)";

void PrintError(std::string_view message) { fmt::print(stderr, "octavo: error: {}\n", message); }

int ExitCodeOf(const Status& status) {
  if (status.ok()) return 0;
  if (status.code() == StatusCode::kCancelled) {
    PrintError(status.message());
    return kExitInterrupted;
  }
  if (status.code() == StatusCode::kInvalidArgument && status.message().starts_with(kUsagePrefix)) {
    PrintError(status.message().substr(kUsagePrefix.size()));
    return kExitUsage;
  }
  PrintError(status.ToString());
  return kExitFailure;
}

// The app a command hangs from: the program, or the group that the first word of a name like
// "bench model" makes on first use.
CLI::App& ParentOf(CLI::App& app, const Command& command, std::string& leaf) {
  leaf = command.name;
  const size_t space = leaf.find(' ');
  if (space == std::string::npos) return app;
  const std::string group = leaf.substr(0, space);
  leaf.erase(0, space + 1);
  const auto known = app.get_subcommands([&](CLI::App* sub) { return sub->get_name() == group; });
  if (!known.empty()) return *known.front();
  CLI::App* parent = app.add_subcommand(group, fmt::format("See `octavo {} --help`", group));
  parent->group(kGroupNames[static_cast<size_t>(command.group)]);
  parent->require_subcommand(1);
  return *parent;
}

// CLI11 reports an unknown command as a missing one; this names it. Empty when argv[1] is fine.
std::string UnknownCommand(const CLI::App& app, int argc, const char* const* argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  const auto known = app.get_subcommands([](const CLI::App*) { return true; });
  const bool found = std::any_of(known.begin(), known.end(),
                                 [&](const CLI::App* sub) { return sub->get_name() == argv[1]; });
  return found ? "" : fmt::format("unknown command '{}'", argv[1]);
}

// Help and version leave through exceptions too: those are successes.
int ExitCodeOf(const CLI::App& app, const CLI::ParseError& error, const std::string& unknown) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
  PrintError(unknown.empty() ? error.what() : unknown);
  std::string path = "octavo";
  for (const CLI::App* used = &app; !used->get_subcommands().empty();) {
    used = used->get_subcommands().back();
    path += " " + used->get_name();
  }
  fmt::print(stderr, "Run `{} --help` for usage.\n", path);
  return kExitUsage;
}

}  // namespace

std::span<const Command* const> AllCommands() { return kCommands; }

Status UsageError(std::string message) {
  return InvalidArgument(std::string(kUsagePrefix) + std::move(message));
}

int RunCommandLine(int argc, const char* const* argv) {
  CLI::App app("Octavo makes large language models small and runs them fast on x86-64 CPUs.", "octavo");
  app.set_version_flag("--version", "octavo " OCTAVO_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.footer(kFooter);
  CommandAction action;
  // CLI11 prints groups in the order in which it first meets them.
  auto commands = kCommands;
  std::stable_sort(commands.begin(), commands.end(),
                   [](const Command* a, const Command* b) { return a->group < b->group; });
  for (const Command* command : commands) {
    std::string name;
    CLI::App& parent = ParentOf(app, *command, name);
    CLI::App* sub = parent.add_subcommand(name, command->description);
    if (&parent == &app) sub->group(kGroupNames[static_cast<size_t>(command->group)]);
    sub->callback([&action, run = command->configure(*sub)] { action = run; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ExitCodeOf(app, error, UnknownCommand(app, argc, argv));
  }
  return ExitCodeOf(action());
}

}  // namespace octavo
