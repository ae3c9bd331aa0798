// SPDX-License-Identifier: Apache-2.0
// `octavo info`: what this machine offers and what Octavo will use of it.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "base/cpu_features.h"
#include "cli/command.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct InfoOptions {
  std::string json;
};

Status RunInfo(const InfoOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel active, ActiveIsa());
  const MachineMemory memory = ReadMachineMemory();
  Json levels = Json::array();
  for (int level = 0; level <= static_cast<int>(DetectedIsa()); ++level) {
    levels.push_back(kIsaNames[static_cast<size_t>(level)]);
  }
  const Json json = {{"version", OCTAVO_VERSION},
                     {"cpu", CpuModelName()},
                     {"isa_levels", levels},
                     {"active_isa", NameOf(active)},
                     {"hardware_threads", std::thread::hardware_concurrency()},
                     {"memory_total_bytes", memory.total_bytes},
                     {"memory_available_bytes", memory.available_bytes}};
  if (!JsonOnStdout(options.json)) {
    fmt::print("octavo      {}\n", OCTAVO_VERSION);
    fmt::print("cpu         {}\n", CpuModelName());
    fmt::print("threads     {}\n", std::thread::hardware_concurrency());
    fmt::print("memory      {} ({} available)\n", FormatBytes(memory.total_bytes),
               FormatBytes(memory.available_bytes));
    fmt::print("isa         {}\n", fmt::join(levels.get<std::vector<std::string>>(), " "));
    fmt::print("active isa  {}\n", NameOf(active));
  }
  return WriteJsonReport(options.json, json);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<InfoOptions>();
  AddJsonOption(app, options->json);
  return [options] { return RunInfo(*options); };
}

}  // namespace

extern const Command kCommand_info_command = {
    "info", CommandGroup::kLook, "Show this machine's CPU, memory and the ISA level in use", &Configure};

}  // namespace octavo
