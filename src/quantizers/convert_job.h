// SPDX-License-Identifier: Apache-2.0
// What the writers of all target forms share: the source's matrices and the run's progress.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quantizers/convert_checkpoint.h"
#include "schemes/int_rows.h"
#include "schemes/open_linear.h"

namespace octavo {

// A quantized matrix, or a tensor that stays as it is.
struct ConvertItem {
  std::string name;                      // module of a matrix ("...q_proj"), else the tensor
  const StoredTensor* tensor = nullptr;  // the codes, or the plain tensor
  std::unique_ptr<WeightSource> source;  // null for plain tensors
};

struct ConvertJob {
  const ConvertOptions* options = nullptr;
  const Checkpoint* checkpoint = nullptr;
  const LinearLoader* loader = nullptr;
  std::vector<ConvertItem> items;  // in file order
  ThreadPool* pool = nullptr;
  std::function<Status(uint64_t bytes)> advance;  // counts bytes of the source; kCancelled to stop
};

// Rows per step of a thread. A multiple of kRowAlignment (scheme.h) and TransposedEncoder's.
inline constexpr int64_t kConvertRows = 128;

// Calls `step(row_begin, count)` for blocks of rows on the pool's threads; returns the first error.
// Progress of `bytes` is spread over the rows.
Status ForRowBlocks(const ConvertJob& job, int64_t num_rows, uint64_t bytes,
                    const std::function<Status(int64_t row_begin, int64_t count)>& step);

// The target's side. `result` gets the counts and output_bytes.
Status ConvertToFolder(const ConvertJob& job, ConvertResult& result);
Status ConvertToGguf(const ConvertJob& job, ConvertResult& result);

}  // namespace octavo
