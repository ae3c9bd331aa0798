// SPDX-License-Identifier: Apache-2.0
// The flags of `octavo serve`, by vLLM's names, each with an environment twin OCTAVO_<NAME>.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "octavo/engine_options.h"
#include "octavo/status.h"
#include "server/serve.h"

namespace octavo {

struct ServeFlags {
  EngineOptions engine;
  server::ServeOptions server;
  // What needs translation before it goes into the two above.
  std::string scheduling_policy = "fcfs";
  std::string generation_config = "auto";
  std::string override_generation_config;
  std::string pooling = "last";
  int header_timeout_s = 10;
  int idle_timeout_s = 75;
  bool access_log = false;
  bool no_page = false;
};

void AddServeFlags(CLI::App& app, ServeFlags& flags);

// Completes `flags` after parsing: names, policies, JSON. Errors name the flag.
Status ResolveServeFlags(ServeFlags& flags);

}  // namespace octavo
