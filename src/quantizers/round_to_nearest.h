// SPDX-License-Identifier: Apache-2.0
// Round to nearest of rows in memory, by all threads.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "octavo/status.h"
#include "schemes/scheme.h"

namespace octavo {

// Appends `part` to `whole`.
void Append(const QuantizedRows& part, QuantizedRows& whole);

// Rounds `x` [count, k], rows [row_begin, row_begin + count) of a module, and appends them to `rows`.
// Blocks of kRowAlignment rows go to the threads, so that every scheme is served.
// Errors: those of Scheme::quantize.
Status RoundToNearest(const Scheme& scheme, const TargetModule& module, const float* x,
                      int64_t row_begin, int64_t count, ThreadPool& pool, QuantizedRows& rows);

}  // namespace octavo
