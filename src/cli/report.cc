// SPDX-License-Identifier: Apache-2.0
// JSON reports and standard streams of commands.
#include "cli/report.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "base/file.h"

namespace octavo {

void AddJsonOption(CLI::App& app, std::string& path) {
  app.add_option("--json", path, "Write the results as JSON to FILE (- for standard output)")
      ->type_name("FILE");
}

Status WriteJsonReport(const std::string& path, const Json& json) {
  if (path.empty()) return Status::Ok();
  const std::string text = DumpJson(json, 2) + "\n";
  return JsonOnStdout(path) ? WriteStandardOutput(text) : WriteFileAtomically(path, text);
}

Result<std::string> ReadStandardInput(size_t max_bytes) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    if (count > max_bytes - text.size()) {
      return ResourceExhausted(fmt::format("standard input: more than {}", FormatBytes(max_bytes)));
    }
    text.append(buffer.data(), count);
  }
  if (std::ferror(stdin) != 0) return ErrnoStatus("standard input", "read");
  return text;
}

Status WriteStandardOutput(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return ErrnoStatus("standard output", "write");
  }
  return Status::Ok();
}

}  // namespace octavo
