// SPDX-License-Identifier: Apache-2.0
// Weights that are in memory and not in a file yet, as models load them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "octavo/status.h"
#include "schemes/open_linear.h"
#include "schemes/scheme.h"
#include "schemes/weight_source.h"

namespace octavo {

// All rows of a module, run as its checkpoint will: same codes, same activations.
// Errors: Unimplemented where no activation of the scheme can be run.
Result<std::unique_ptr<WeightSource>> MakeQuantizedSource(const Scheme& scheme,
                                                          const TargetModule& module,
                                                          std::shared_ptr<const QuantizedRows> rows);

// A module that stays as it is, run as it is written: a GGUF's becomes bf16.
Result<std::unique_ptr<WeightSource>> OpenOriginal(const LinearLoader& linears,
                                                   const Checkpoint& checkpoint,
                                                   const std::string& module);

// A matrix [n, k] of values that bf16 holds exactly (others are rounded).
std::unique_ptr<WeightSource> MakeDenseSource(const std::string& module, int64_t n, int64_t k,
                                              std::vector<float> values);

// What a search tries: the weights of `tensor` with columns times `scales` [k], rounded to nearest and divided
// by the scales again. Rows are rounded when they are read, blocks of them by several threads. For schemes
// whose scales belong to single rows. All but the scales must outlive the source.
std::unique_ptr<WeightSource> MakeTrialSource(const Checkpoint& checkpoint, const StoredTensor& tensor,
                                              const Scheme& scheme, const TargetModule& module,
                                              std::vector<float> scales);

// Rows [begin, begin + count) of `rows`.
QuantizedRows SliceRows(const QuantizedRows& rows, int64_t begin, int64_t count);

}  // namespace octavo
