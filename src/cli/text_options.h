// SPDX-License-Identifier: Apache-2.0
// The options of commands that run an evaluation text.
#pragma once

#include <CLI/CLI.hpp>

#include "quality/evaluation_text.h"

namespace octavo {

// Adds --file, --max-windows and --window.
inline void AddTextOptions(CLI::App& app, EvaluationTextOptions& options) {
  app.add_option("--file", options.file, "Text to run (UTF-8); default: a built-in one")
      ->type_name("TEXT");
  app.add_option("--max-windows", options.max_windows, "Stop after this many windows (default: all)")
      ->check(CLI::PositiveNumber);
  app.add_option("--window", options.window,
                 "Tokens per window (default: 2048, for the built-in text 512)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
}

}  // namespace octavo
