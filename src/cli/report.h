// SPDX-License-Identifier: Apache-2.0
// Helpers for what commands report: --json files, standard output; memory and human-readable sizes.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/units.h"
#include "octavo/status.h"

namespace octavo {

// Adds `--json FILE` ("-" is standard output) to a command.
void AddJsonOption(CLI::App& app, std::string& path);

// Writes indented JSON; a file appears whole or not at all. An empty path writes nothing.
Status WriteJsonReport(const std::string& path, const Json& json);

// Whether the JSON report takes standard output, so that nothing else may be printed there.
inline bool JsonOnStdout(const std::string& path) { return path == "-"; }

// All of standard input, at most `max_bytes`.
Result<std::string> ReadStandardInput(size_t max_bytes = size_t{1} << 30);

// Writes to standard output and flushes; the error says why (a full disk, for example).
Status WriteStandardOutput(std::string_view text);

}  // namespace octavo
