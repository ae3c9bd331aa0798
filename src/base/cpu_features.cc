// SPDX-License-Identifier: Apache-2.0
// CPUID and XCR0 probing, with the AMX permission request Linux wants.
#include "base/cpu_features.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

namespace octavo {
namespace {

struct CpuidLeaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidLeaf Cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidLeaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool Bit(uint32_t word, int index) { return ((word >> index) & 1u) != 0; }

uint64_t Xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux hands out the 8 KiB of tile state only on request (since 5.16).
bool RequestAmxPermission() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtileData = 18;
  return ::syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtileData) == 0;
}

IsaLevel Probe() {
  const CpuidLeaf l1 = Cpuid(1, 0);
  if (!Bit(l1.ecx, 27)) return IsaLevel::kReference;  // OSXSAVE
  const uint64_t xcr0 = Xcr0();
  const CpuidLeaf l7 = Cpuid(7, 0);
  const CpuidLeaf l71 = Cpuid(7, 1);
  const bool ymm = (xcr0 & 0x6) == 0x6;
  const bool fma = Bit(l1.ecx, 12), f16c = Bit(l1.ecx, 29);
  const bool avx2 = Bit(l7.ebx, 5), bmi = Bit(l7.ebx, 3) && Bit(l7.ebx, 8);
  if (!(ymm && fma && f16c && avx2 && bmi)) return IsaLevel::kReference;
  const bool zmm = (xcr0 & 0xe6) == 0xe6;
  const bool avx512 = Bit(l7.ebx, 16) && Bit(l7.ebx, 17) && Bit(l7.ebx, 28) && Bit(l7.ebx, 30) &&
                      Bit(l7.ebx, 31);
  if (!(zmm && avx512)) return IsaLevel::kAvx2;
  const bool vnni = Bit(l7.ecx, 11) && Bit(l7.ecx, 1) && Bit(l7.ecx, 6);
  if (!vnni) return IsaLevel::kAvx512;
  if (!Bit(l71.eax, 5)) return IsaLevel::kAvx512Vnni;
  const bool amx = Bit(l7.edx, 24) && Bit(l7.edx, 25) && Bit(l7.edx, 22);
  const bool tile_state = (xcr0 & 0x60000) == 0x60000;
  if (amx && tile_state && RequestAmxPermission()) return IsaLevel::kAmx;
  return IsaLevel::kAvx512Bf16;
}

}  // namespace

IsaLevel DetectedIsa() {
  static const IsaLevel level = Probe();
  return level;
}

Result<IsaLevel> ActiveIsa() {
  const char* wanted = std::getenv("OCTAVO_ISA");
  if (wanted == nullptr || *wanted == '\0') return DetectedIsa();
  for (size_t i = 0; i < kIsaNames.size(); ++i) {
    if (kIsaNames[i] != wanted) continue;
    const auto level = static_cast<IsaLevel>(i);
    if (level <= DetectedIsa()) return level;
    return InvalidArgument(fmt::format("OCTAVO_ISA={}: this CPU reaches only {}", wanted,
                                       NameOf(DetectedIsa())));
  }
  return InvalidArgument(
      fmt::format("OCTAVO_ISA={}: unknown, want one of {}", wanted, fmt::join(kIsaNames, ", ")));
}

std::string CpuModelName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace octavo
