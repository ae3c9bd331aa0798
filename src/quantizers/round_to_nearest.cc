// SPDX-License-Identifier: Apache-2.0
// Blocks of rows, put together again in order.
#include "quantizers/round_to_nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace octavo {

void Append(const QuantizedRows& part, QuantizedRows& whole) {
  const auto append = [](const auto& from, auto& to) { to.insert(to.end(), from.begin(), from.end()); };
  whole.count += part.count;
  append(part.codes, whole.codes);
  append(part.scales, whole.scales);
  append(part.zero_points, whole.zero_points);
  append(part.scales2, whole.scales2);
  append(part.zeros2, whole.zeros2);
}

Status RoundToNearest(const Scheme& scheme, const TargetModule& module, const float* x,
                      int64_t row_begin, int64_t count, ThreadPool& pool, QuantizedRows& rows) {
  const int64_t blocks = (count + kRowAlignment - 1) / kRowAlignment;
  std::vector<QuantizedRows> parts(static_cast<size_t>(blocks));
  std::vector<Status> failed(static_cast<size_t>(blocks));
  pool.ParallelFor(blocks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRowAlignment;
      const auto at = static_cast<size_t>(block);
      failed[at] = scheme.quantize(module, x + first * module.k, row_begin + first,
                                   std::min(kRowAlignment, count - first), parts[at]);
    }
  });
  for (size_t block = 0; block < parts.size(); ++block) {
    OCTAVO_RETURN_IF_ERROR(std::move(failed[block]));
    Append(parts[block], rows);
  }
  return Status::Ok();
}

}  // namespace octavo
