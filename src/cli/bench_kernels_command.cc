// SPDX-License-Identifier: Apache-2.0
// `octavo bench kernels`: each kernel alone against the limits of the machine, measured beside it in
// the same process.
#include <memory>

#include "cli/bench_kernels.h"
#include "cli/command.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "kernels/onednn_speed.h"
#include "kernels/roofline.h"

namespace octavo {
namespace {

struct Options {
  BenchKernelsOptions bench;
  std::string output = "md";
  std::string json;
};

Status RunBenchKernels(const Options& options) {
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<KernelBench> benches, PlanKernelBenches(options.bench, isa));
  ThreadPool pool(1);
  const Roofline roofline = MeasureRoofline(pool);
  Json report = {{"machine",
                  {{"cpu", CpuModelName()},
                   {"isa", NameOf(isa)},
                   {"threads", 1},
                   {"int8_gops", roofline.BestInt8()},
                   {"bf16_gflops", roofline.BestBf16()},
                   {"f32_gflops", roofline.f32_gflops},
                   {"dram_gb_s", roofline.dram_gb_s},
                   {"onednn", OneDnnVersion()}}},
                 {"results", Json::array()}};
  ProgressBar progress({.label = "kernels", .item_name = "kernels"});
  for (const KernelBench& bench : benches) {
    OCTAVO_ASSIGN_OR_RETURN(Json result, bench.run());
    result["kernel"] = bench.name;
    result["shape"] = bench.shape;
    report["results"].push_back(std::move(result));
    progress.Update(report["results"].size(), benches.size());
  }
  progress.Finish();
  if (!JsonOnStdout(options.json)) {
    OCTAVO_RETURN_IF_ERROR(
        WriteStandardOutput(options.output == "json" ? DumpJson(report, 2) + "\n" : KernelTable(report)));
  }
  return WriteJsonReport(options.json, report);
}

CommandAction ConfigureBenchKernels(CLI::App& app) {
  auto options = std::make_shared<Options>();
  BenchKernelsOptions& bench = options->bench;
  app.add_option("-k,--kernel", bench.filter,
                 "Only kernels whose name holds this: gemm, w8a8, gemm/w4a8_two_level, attention/int8");
  app.add_option("-m,--rows", bench.rows, "Rows of activations, several with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--shape", bench.shapes, "Weights NxK, several with commas")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--all-levels", bench.all_levels, "Every ISA level of this machine, not only the one in use");
  app.add_option("-r,--repetitions", bench.rounds, "Rounds of peak, kernel and read; medians count")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--cold-mib", bench.cold_mib, "Memory that products of few rows walk over, in MiB")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("-o,--output", options->output, "What to print: md or json")
      ->check(CLI::IsMember({"md", "json"}))
      ->capture_default_str();
  AddJsonOption(app, options->json);
  return [options] { return RunBenchKernels(*options); };
}

}  // namespace

extern const Command kCommand_bench_kernels_command = {
    "bench kernels", CommandGroup::kMeasure, "Each kernel alone against the machine's limits",
    &ConfigureBenchKernels};

}  // namespace octavo
