// SPDX-License-Identifier: Apache-2.0
// Memory figures of the process and the machine; sizes and times for people.
#pragma once

#include <cstdint>
#include <string>

namespace octavo {

// The largest resident set of this process so far (VmHWM) in bytes; 0 when the system does not say.
uint64_t PeakRssBytes();

// Memory of the machine in bytes: {total, available}; zeros when the system does not say.
struct MachineMemory {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
};
MachineMemory ReadMachineMemory();

// "1.5 GiB", "98.0 MiB", "512 B".
std::string FormatBytes(uint64_t bytes);

// "1:02:03", "4:05", "12 s".
std::string FormatDuration(double seconds);

}  // namespace octavo
