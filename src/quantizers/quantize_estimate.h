// SPDX-License-Identifier: Apache-2.0
// What quantizing would give and cost, without writing anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/status.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

struct QuantizeEstimate {
  QuantizeResult summary;  // sizes are exact
  // Of rounding to nearest: the process as it is, and a block of rows per thread.
  uint64_t peak_memory_bytes = 0;
  // Computing time of rounding to nearest on this machine, measured on a block of the largest matrix;
  // a slow disk adds to it.
  double seconds = 0;
};

// The output folder is not looked at. Errors: as QuantizeCheckpoint, before it writes.
Result<QuantizeEstimate> EstimateQuantize(const QuantizeOptions& options);

// Exact size in every scheme that can be written, with the other options as they are.
struct SchemeSize {
  std::string scheme;
  double bits_per_weight = 0;  // 0 when the scheme does not fit the model
  uint64_t output_bytes = 0;
  int group_size = 0;
  std::string error;  // why it does not fit
};
Result<std::vector<SchemeSize>> SizesOfAllSchemes(const QuantizeOptions& options);

}  // namespace octavo
