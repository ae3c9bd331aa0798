// SPDX-License-Identifier: Apache-2.0
// The peak loops per ISA level: `iterations` rounds of independent chains; each returns its operations.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo {

double PeakF32_avx2(int64_t iterations);
double PeakInt8_avx2(int64_t iterations);
void ReadMemory_avx2(const void* memory, size_t bytes);
double PeakF32_avx512(int64_t iterations);
void ReadMemory_avx512(const void* memory, size_t bytes);
double PeakInt8_avx512_vnni(int64_t iterations);
double PeakBf16_avx512_bf16(int64_t iterations);
double PeakInt8_amx(int64_t iterations);
double PeakBf16_amx(int64_t iterations);

}  // namespace octavo
