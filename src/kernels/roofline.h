// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, or at best with the instructions of an ISA level, measured in this
// process: the 100 % of every benchmark claim.
#pragma once

#include "base/cpu_features.h"
#include "base/thread_pool.h"

namespace octavo {

// Sums over all threads of the pool. 0: the level lacks the instruction. Operations count multiplies
// and adds.
struct Roofline {
  double dram_gb_s = 0;          // reading
  double f32_gflops = 0;         // vfmadd, widest vectors
  double int8_gops = 0;          // vpdpbusd (AVX2: vpmaddwd on widened bytes)
  double bf16_gflops = 0;        // vdpbf16ps
  double amx_int8_gops = 0;      // TDPBSSD
  double amx_bf16_gflops = 0;    // TDPBF16PS

  // The best there is for a data type.
  double BestInt8() const { return amx_int8_gops > 0 ? amx_int8_gops : int8_gops; }
  double BestBf16() const {
    if (amx_bf16_gflops > 0) return amx_bf16_gflops;
    return bf16_gflops > f32_gflops ? bf16_gflops : f32_gflops;
  }
};

// Takes less than a second. Allocates and frees 256 MiB for the DRAM figure (less when memory is
// short, 0 GB/s when there is none). `isa`, at most DetectedIsa(), is the level of the loops; memory is read
// with the widest vectors there are.
Roofline MeasureRoofline(ThreadPool& pool, IsaLevel isa = DetectedIsa());

// One burst of a peak loop on the calling thread; returns operations done (0: not available at `isa`).
// Callers time it themselves, next to the kernel they compare.
enum class PeakLoop { kF32, kInt8, kBf16, kAmxInt8, kAmxBf16 };
double RunPeakLoop(PeakLoop loop, int64_t iterations, IsaLevel isa = DetectedIsa());

// Reads `bytes` bytes at `memory` (64-byte aligned) with plain loads, as fast as one thread can.
void ReadMemory(const void* memory, size_t bytes);

}  // namespace octavo
