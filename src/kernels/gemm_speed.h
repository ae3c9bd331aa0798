// SPDX-License-Identifier: Apache-2.0
// One GEMM kernel on one shape, measured against the limits of the machine: what `octavo bench kernels`
// and gemm_bench run.
#pragma once

#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/gemm/gemm.h"
#include "kernels/speed_rounds.h"

namespace octavo {

// A pair of weight and activation formats under the name of a scheme.
struct GemmSpeedCase {
  std::string scheme;  // "w4a8_two_level"
  WeightSpec weight;
  ActivationFormat format;
};

// The formats that models come in, as [n, k] weights.
std::vector<GemmSpeedCase> GemmSpeedCases(int64_t n, int64_t k);

class GemmSpeed {
 public:
  // Weights are copied until they fill `cold_bytes`, so that each call reads them from memory; products
  // of more than 64 rows use four copies.
  static Result<GemmSpeed> Create(const GemmKernel& kernel, const GemmSpeedCase& c, int64_t rows,
                                  size_t cold_bytes);

  // Some milliseconds of the peak loop, of the kernel and of reading.
  SpeedRound Round();

 private:
  GemmSpeed(const GemmKernel& kernel, GemmSpeedCase c) : kernel_(&kernel), case_(std::move(c)) {}
  void Multiply();

  const GemmKernel* kernel_;
  GemmSpeedCase case_;
  HugeBuffer weights_, out_;
  size_t copy_bytes_ = 0;
  int64_t panels_ = 0, copies_ = 0, calls_ = 0;
  int64_t peak_iterations_ = 0;
  ActivationBuffer x_;
};

}  // namespace octavo
