// SPDX-License-Identifier: Apache-2.0
// LLM.int8()'s comparison of int8 quantizers, arXiv:2208.07339, table 1: what each costs in perplexity.
//
// Weights and activations of all linear layers but the head take the values that int8 codes can say, and
// products run in f32, which sums these values as exactly as int32 does up to f32 rounding. With
// decomposition, activations of 6.0 and more are left out per token and multiplied in 16 bit with the
// original weights (kernels/gemm/outlier_product.h). Differs from the paper: outliers per token instead
// of per batch, and weights are quantized with the outliers' columns among them, as they run.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "octavo/status.h"
#include "quality/evaluation_text.h"
#include "quality/fake_int8.h"

namespace octavo {

// A row of the table.
struct Int8Variant {
  const char* name;
  bool quantize = true;  // false: 16-bit weights, f32 activations
  Int8Code code = Int8Code::kAbsmax;
  bool token_scales = false;    // activations: a scale per token, else one per step of up to 512
  bool channel_scales = false;  // weights: a scale per output, else one per matrix
  bool decompose = false;
};

// The paper's nine rows in its order.
std::span<const Int8Variant> Int8Variants();

struct Int8StudyRow {
  std::string name;
  double perplexity = 0;
  double outlier_share = 0;  // of all inputs of linear layers; 0 without decomposition
};

// Errors: FailedPrecondition when the checkpoint is quantized; what reading and running report. `progress`
// counts steps and may be null, as may `cancel`.
Result<std::vector<Int8StudyRow>> RunInt8Study(std::shared_ptr<const Checkpoint> checkpoint,
                                               const EvaluationText& text, ThreadPool& pool,
                                               const std::atomic<bool>* cancel,
                                               const std::function<void(uint64_t, uint64_t)>& progress);

std::string Int8StudyTable(const std::vector<Int8StudyRow>& rows);
Json Int8StudyJson(const std::vector<Int8StudyRow>& rows);

}  // namespace octavo
