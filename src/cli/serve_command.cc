// SPDX-License-Identifier: Apache-2.0
// `octavo serve`: the OpenAI-compatible server with its chat page.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <set>
#include <string>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "cli/serve_options.h"

namespace octavo {
namespace {

void Log(const std::string& line) { fmt::print(stderr, "{}\n", line); }

// An address to click: "listening everywhere" is no place to go to.
std::string Reachable(std::string address) {
  for (const std::string_view any : {"//0.0.0.0:", "//[::]:"}) {
    const size_t at = address.find(any);
    if (at != std::string::npos) address.replace(at, any.size(), "//localhost:");
  }
  return address;
}

// "W4A16, BF16": what the weights are computed as.
std::string Schemes(const LlmEngine& engine) {
  std::set<std::string> names;
  for (const LayerPrecision& layer : engine.layer_precision()) names.insert(layer.scheme);
  return fmt::format("{}", fmt::join(names, ", "));
}

void PrintReady(const ServeFlags& flags, const std::string& address, const LlmEngine& engine) {
  const ModelInfo& info = engine.model_info();
  const std::string url = Reachable(address);
  Log(fmt::format("model       {}: {}, {:.0f} M parameters, context {} tokens",
                  flags.server.api.served_model_names[0], info.architecture,
                  static_cast<double>(info.num_parameters) / 1e6, info.max_model_len));
  Log(fmt::format("memory      weights {} ({}), KV cache {} ({}, {} tokens), arena {}",
                  FormatBytes(info.weight_bytes), Schemes(engine), FormatBytes(info.kv_cache_bytes),
                  info.kv_cache_dtype, info.num_kv_blocks * info.block_size,
                  FormatBytes(info.arena_bytes)));
  Log(fmt::format("cpu         {}, {} threads", info.isa, info.num_threads));
  Log(fmt::format("OpenAI API  {}{}", url, url.starts_with("unix:") ? "" : "/v1"));
  if (flags.server.api.page && !url.starts_with("unix:")) Log(fmt::format("chat page   {}/", url));
  Log("ready; Ctrl-C stops");
}

void WarnIfOpen(const ServeFlags& flags) {
  const server::AccessOptions& access = flags.server.api.access;
  if (!access.loopback_only && access.api_keys.empty()) {
    Log("octavo: warning: other machines can reach this server and no --api-key is set");
  }
}

Status RunServe(ServeFlags flags) {
  const Status resolved = ResolveServeFlags(flags);
  if (!resolved.ok()) return UsageError(resolved.message());
  if (flags.access_log) flags.server.api.access_log = &Log;
  WarnIfOpen(flags);
  OCTAVO_ASSIGN_OR_RETURN(flags.engine.model, ResolveModel(flags.engine.model));
  OCTAVO_ASSIGN_OR_RETURN(flags.engine.tokenizer, ResolveModel(flags.engine.tokenizer));

  const InterruptScope interrupt;
  std::string address;
  ProgressBar progress({.label = "load", .unit = ProgressBar::Unit::kBytes});
  server::ServeHooks hooks;
  hooks.log = &Log;
  hooks.on_listening = [&](const std::string& bound) {
    address = bound;
    Log(fmt::format("octavo {} listens on {} and loads {}", OCTAVO_VERSION, bound,
                    flags.engine.model));
  };
  hooks.on_progress = [&](const LoadProgress& state) {
    if (state.stage == "weights") progress.Update(state.done, state.total);
  };
  hooks.load_engine = [&](server::ServeHooks::Progress report) {
    return LlmEngine::Create(flags.engine, std::move(report));
  };
  hooks.on_ready = [&](const LlmEngine& engine) {
    progress.Finish();
    PrintReady(flags, address, engine);
  };
  // Being told to stop is how a server ends well.
  return server::Serve(flags.server, hooks, interrupt.flag());
}

CommandAction Configure(CLI::App& app) {
  auto flags = std::make_shared<ServeFlags>();
  AddServeFlags(app, *flags);
  app.footer("Every flag can also be set in the environment, e.g. OCTAVO_PORT=8001.");
  return [flags] { return RunServe(*flags); };
}

}  // namespace

extern const Command kCommand_serve_command = {
    "serve", CommandGroup::kRun, "Serve a model over an OpenAI-compatible API, with a chat page",
    &Configure};

}  // namespace octavo
