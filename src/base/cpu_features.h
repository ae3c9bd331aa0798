// SPDX-License-Identifier: Apache-2.0
// Which instruction-set level this CPU (and the user) allows.
#pragma once

#include <array>
#include <string_view>

#include "octavo/status.h"

namespace octavo {

// Clusters of instruction sets, each containing the ones before it.
enum class IsaLevel : int {
  kReference,   // portable C++, textbook loops
  kAvx2,        // AVX2, FMA, F16C, BMI2
  kAvx512,      // + AVX-512 F, BW, VL, DQ, CD
  kAvx512Vnni,  // + VNNI, VBMI, VBMI2
  kAvx512Bf16,  // + AVX512_BF16
  kAmx,         // + AMX tile, int8, bf16 (and the operating system's permission)
};

inline constexpr std::array<std::string_view, 6> kIsaNames = {
    "reference", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};

inline std::string_view NameOf(IsaLevel level) { return kIsaNames[static_cast<size_t>(level)]; }

// The highest level this machine runs. Asks the kernel for AMX state the first time. Thread-safe.
IsaLevel DetectedIsa();

// DetectedIsa(), lowered to the environment variable OCTAVO_ISA when that names a level. An unknown
// name or a level the machine lacks is an error, so that a typo cannot pass for a measurement.
Result<IsaLevel> ActiveIsa();

// "Intel(R) Xeon(R) Processor", or "unknown".
std::string CpuModelName();

}  // namespace octavo
