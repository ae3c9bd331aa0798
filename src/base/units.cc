// SPDX-License-Identifier: Apache-2.0
// Reads /proc; formats numbers.
#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <string_view>

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
