// SPDX-License-Identifier: Apache-2.0
// A weight matrix in the layout of the kernels that will multiply with it: what a linear layer owns.
//
// One PackedWeight may join several matrices along n (q, k and v; gate and up), each with its own
// format and kernel. All panels live in one huge-page buffer, in order:
//
//   [part 0: panel 0 | panel 1 | ...][part 1: ...]      every panel starts on a 64-byte line
//
// Packing and multiplying cut this buffer into one contiguous slice of bytes per thread, so the thread
// that first touches a panel is the one that reads it later.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/outlier_product.h"

namespace octavo {

// Decodes rows [row_begin, row_begin + count) into `rows`, which is already sized for them. Called from
// several threads at once; count is small (a panel).
using WeightRowSource =
    std::function<Status(int64_t row_begin, int64_t count, WeightRows& rows)>;

// One matrix to pack, and the activations it will meet.
struct WeightPart {
  WeightSpec spec;
  ActivationFormat format = ActivationFormat::kBf16;
  WeightRowSource rows;
  // LLM.int8(): activations of at least this magnitude are multiplied in 16 bit (kInt8 with scales per
  // channel), with `kept` where it has the column; kF32 needs all columns there. 0: none.
  float outlier_threshold = 0;
  KeptColumns kept = {};
  float static_scale = 0;  // of the activations; 0: every row has its own
};

class PackedWeight {
 public:
  PackedWeight() = default;

  // Packs all parts (same k) for the highest kernels <= `isa`. Peak memory: the packed bytes plus one
  // panel of decoded rows per thread. Where `memory` is large enough it is used again. Errors: no kernel
  // for a pair, no memory, or the source's own.
  static Result<PackedWeight> Pack(const std::vector<WeightPart>& parts, IsaLevel isa, ThreadPool& pool,
                                   HugeBuffer memory = {});

  // The memory, for another matrix; this one is gone.
  HugeBuffer TakeMemory() && { return std::move(memory_); }

  // y[:, n of the part] = x * part^T for every part whose activation() equals x.spec; columns of other
  // parts are left alone. `y` is laid out for all parts: [rows, n()]. Activations that no part wants are a
  // bug of the caller, and end the program.
  void Multiply(const ActivationView& x, const GemmOutput& y, ThreadPool& pool) const;

  // The distinct activations the parts want, in order of first use.
  const std::vector<ActivationSpec>& activations() const { return activations_; }

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  size_t bytes() const;

  struct PartInfo {
    WeightSpec spec;
    ActivationSpec activation;
    const GemmKernel* kernel = nullptr;
    int64_t n_begin = 0;    // first output column
    size_t offset = 0;      // of the first panel
    size_t panel_bytes = 0;
    int64_t panels = 0;
    KeptColumns kept;       // sorted by column
  };
  const std::vector<PartInfo>& parts() const { return parts_; }

  // "gemm_w8a8_amx", or all names joined by "+" when parts differ.
  std::string KernelNames() const;

 private:
  template <typename Fn>
  void ForPanels(const ActivationSpec* only, int64_t line_begin, int64_t line_end, const Fn& fn) const;
  int64_t Lines(const ActivationSpec* only) const;
  void MultiplyRows(const ActivationView& x, const GemmOutput& y, int64_t line_begin,
                    int64_t line_end) const;

  std::vector<PartInfo> parts_;
  std::vector<ActivationSpec> activations_;
  HugeBuffer memory_;
  const OutlierOps* outlier_ops_ = nullptr;
  int64_t n_ = 0;
  int64_t k_ = 0;
};

}  // namespace octavo
