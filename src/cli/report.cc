// SPDX-License-Identifier: Apache-2.0
// JSON reports, memory figures and number formatting for commands.
#include "cli/report.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "base/file.h"

namespace octavo {
namespace {

// Reads "Key:   123 kB" from a /proc file.
uint64_t ReadProcKiB(const char* path, std::string_view key) {
  std::ifstream file(path);
  std::string name;
  while (file >> name) {
    uint64_t kib = 0;
    if (name == key && file >> kib) return kib * 1024;
    std::getline(file, name);
  }
  return 0;
}

}  // namespace

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

uint64_t PeakRssBytes() { return ReadProcKiB("/proc/self/status", "VmHWM:"); }

MachineMemory ReadMachineMemory() {
  return {.total_bytes = ReadProcKiB("/proc/meminfo", "MemTotal:"),
          .available_bytes = ReadProcKiB("/proc/meminfo", "MemAvailable:")};
}

std::string FormatBytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatDuration(double seconds) {
  if (!(seconds < 1e9)) return "?";
  const auto total = static_cast<int64_t>(seconds + 0.5);
  if (total < 60) return fmt::format("{} s", total);
  if (total < 3600) return fmt::format("{}:{:02}", total / 60, total % 60);
  return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

}  // namespace octavo
