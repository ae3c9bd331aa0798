// SPDX-License-Identifier: Apache-2.0
// `octavo info`: what this machine offers and what Octavo will use of it.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/report.h"
#include "kernels/roofline.h"

namespace octavo {
namespace {

struct InfoOptions {
  bool quick = false;
  std::string json;
};

Roofline Measure() {
  ThreadPool pool;
  return MeasureRoofline(pool);
}

Json ToJson(const Roofline& roofline) {
  return {{"dram_gb_s", roofline.dram_gb_s},
          {"f32_gflops", roofline.f32_gflops},
          {"int8_gops", roofline.BestInt8()},
          {"bf16_gflops", roofline.BestBf16()}};
}

Status RunInfo(const InfoOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel active, ActiveIsa());
  const MachineMemory memory = ReadMachineMemory();
  Json levels = Json::array();
  for (int level = 0; level <= static_cast<int>(DetectedIsa()); ++level) {
    levels.push_back(kIsaNames[static_cast<size_t>(level)]);
  }
  const Roofline roofline = options.quick ? Roofline{} : Measure();
  Json json = {{"version", OCTAVO_VERSION},
                     {"cpu", CpuModelName()},
                     {"isa_levels", levels},
                     {"active_isa", NameOf(active)},
                     {"hardware_threads", std::thread::hardware_concurrency()},
                     {"memory_total_bytes", memory.total_bytes},
                     {"memory_available_bytes", memory.available_bytes}};
  if (!options.quick) json["roofline"] = ToJson(roofline);
  if (!JsonOnStdout(options.json)) {
    fmt::print("octavo      {}\n", OCTAVO_VERSION);
    fmt::print("cpu         {}\n", CpuModelName());
    fmt::print("threads     {}\n", std::thread::hardware_concurrency());
    fmt::print("memory      {} ({} available)\n", FormatBytes(memory.total_bytes),
               FormatBytes(memory.available_bytes));
    fmt::print("isa         {}\n", fmt::join(levels.get<std::vector<std::string>>(), " "));
    fmt::print("active isa  {}\n", NameOf(active));
    if (!options.quick) {
      fmt::print("measured    {:.0f} GB/s DRAM read, {:.0f} GOPS int8, {:.0f} GFLOPS bf16, "
                 "{:.0f} GFLOPS f32 (now, with whatever else runs)\n",
                 roofline.dram_gb_s, roofline.BestInt8(), roofline.BestBf16(), roofline.f32_gflops);
    }
  }
  return WriteJsonReport(options.json, json);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<InfoOptions>();
  app.add_flag("--quick", options->quick, "Do not measure what the machine reaches");
  AddJsonOption(app, options->json);
  return [options] { return RunInfo(*options); };
}

}  // namespace

extern const Command kCommand_info_command = {
    "info", CommandGroup::kLook, "Show this machine's CPU, memory and the ISA level in use", &Configure};

}  // namespace octavo
