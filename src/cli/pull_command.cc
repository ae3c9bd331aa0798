// SPDX-License-Identifier: Apache-2.0
// `octavo pull`: a model from the hub into the cache.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct PullOptions {
  std::string name;
  std::string revision;
  hub::FileFilter filter;
  std::string cache_dir;
  std::string token;
  std::string json;
};

Status RunPull(const PullOptions& options) {
  auto parsed = hub::ParseHubName(options.name);
  if (!parsed.ok()) return UsageError(parsed.status().message());
  hub::HubName name = std::move(parsed).value();
  if (!options.revision.empty()) {
    const Status checked = hub::CheckRevision(options.revision);
    if (!checked.ok()) return UsageError("--revision: " + checked.message());
    name.revision = options.revision;
  }
  if (!name.file.empty() && !options.filter.include.empty()) {
    return UsageError("want ORG/NAME:FILE or --include, not both");
  }
  OCTAVO_ASSIGN_OR_RETURN(hub::HubSettings settings, hub::HubSettings::FromEnvironment());
  if (!options.cache_dir.empty()) settings.cache_dir = options.cache_dir;
  if (!options.token.empty()) {
    OCTAVO_RETURN_IF_ERROR(hub::HubSettings::CheckToken(options.token));
    settings.token = options.token;
  }
  OCTAVO_ASSIGN_OR_RETURN(const hub::Pulled pulled,
                          PullWithProgress(name, options.filter, settings));
  if (!JsonOnStdout(options.json)) {
    fmt::print(stderr, "{} files, {}, of which {} fetched now\n", pulled.num_files,
               FormatBytes(pulled.total_bytes), FormatBytes(pulled.fetched_bytes));
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(pulled.path + "\n"));
  }
  return WriteJsonReport(options.json, {{"path", pulled.path},
                                        {"commit", pulled.commit},
                                        {"files", pulled.num_files},
                                        {"total_bytes", pulled.total_bytes},
                                        {"fetched_bytes", pulled.fetched_bytes}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<PullOptions>();
  app.add_option("NAME", options->name, "ORG/NAME[@REVISION][:FILE]")->required();
  app.add_option("--revision", options->revision, "Branch, tag or commit (default: main)");
  app.add_option("--include", options->filter.include,
                 "Fetch the files that match these patterns; default: what Octavo reads")
      ->type_name("GLOB");
  app.add_option("--exclude", options->filter.exclude, "Leave out the files that match")
      ->type_name("GLOB");
  app.add_option("--cache-dir", options->cache_dir, "Default: Hugging Face's own cache")
      ->type_name("FOLDER");
  app.add_option("--token", options->token,
                 "Access token (default: HF_TOKEN, or the one that `hf auth login` stored)");
  AddJsonOption(app, options->json);
  app.footer("Prints the folder, or the file, on standard output. docs/hub.md has the details.");
  return [options] { return RunPull(*options); };
}

}  // namespace

extern const Command kCommand_pull_command = {
    "pull", CommandGroup::kMake, "Fetch a model from the hub, or the rest of one", &Configure};

}  // namespace octavo
