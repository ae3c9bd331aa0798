// SPDX-License-Identifier: Apache-2.0
// `octavo list archs|schemes|kernels`: what this build contains.
#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "cli/command.h"
#include "cli/report.h"
#include "kernels/attention/attention_kernel.h"
#include "kernels/gemm/gemm.h"
#include "models/model.h"
#include "schemes/scheme.h"

namespace octavo {
namespace {

struct ListOptions {
  std::string what;
  std::string json;
};

Json ListArchs() {
  Json rows = Json::array();
  for (const ModelArch* arch : AllArchs()) {
    rows.push_back({{"name", arch->name}, {"hf_architectures", arch->hf_architectures}});
  }
  return rows;
}

Json ListSchemes() {
  Json rows = Json::array();
  for (const Scheme* scheme : AllSchemes()) {
    rows.push_back({{"name", scheme->name},
                    {"summary", scheme->summary},
                    {"online_name", scheme->online_name},
                    {"writable", scheme->writable()}});
  }
  return rows;
}

Json KernelRow(std::string_view op, std::string_view name, IsaLevel isa) {
  const bool runs = isa <= DetectedIsa();
  return {{"op", op}, {"name", name}, {"isa", NameOf(isa)}, {"runs_here", runs}};
}

Json ListKernels() {
  Json rows = Json::array();
  for (const GemmKernel* kernel : AllGemmKernels()) {
    rows.push_back(KernelRow("gemm", kernel->name, kernel->isa));
  }
  // The attention registry answers by level; levels without a kernel of their own repeat a lower one.
  std::set<std::string_view> seen;
  for (size_t level = 0; level < kIsaNames.size(); ++level) {
    const AttentionKernel& kernel = FindAttentionKernel(static_cast<IsaLevel>(level));
    if (seen.insert(kernel.name).second) {
      rows.push_back(KernelRow("attention", kernel.name, kernel.isa));
    }
  }
  return rows;
}

void PrintRow(const Json& row) {
  std::vector<std::string> notes;
  if (row.contains("hf_architectures")) {
    notes.push_back(
        fmt::format("{}", fmt::join(row["hf_architectures"].get<std::vector<std::string>>(), " ")));
  } else if (row.contains("summary")) {
    notes.push_back(row["summary"].get<std::string>());
    const auto online = row["online_name"].get<std::string>();
    if (!online.empty()) notes.push_back("(--quantization " + online + ")");
    if (!row["writable"].get<bool>()) notes.push_back("(read only)");
  } else {
    notes.push_back(row["isa"].get<std::string>());
    if (!row["runs_here"].get<bool>()) notes.push_back("(not on this machine)");
  }
  fmt::print("{:<30}  {}\n", row["name"].get<std::string>(), fmt::join(notes, " "));
}

Status RunList(const ListOptions& options) {
  const Json rows = options.what == "archs"     ? ListArchs()
                    : options.what == "schemes" ? ListSchemes()
                                                : ListKernels();
  if (!JsonOnStdout(options.json)) {
    for (const Json& row : rows) PrintRow(row);
  }
  return WriteJsonReport(options.json, rows);
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<ListOptions>();
  app.add_option("WHAT", options->what, "archs, schemes or kernels")
      ->required()
      ->check(CLI::IsMember({"archs", "schemes", "kernels"}));
  AddJsonOption(app, options->json);
  return [options] { return RunList(*options); };
}

}  // namespace

extern const Command kCommand_list_command = {
    "list", CommandGroup::kLook, "List architectures, schemes or kernels of this build", &Configure};

}  // namespace octavo
