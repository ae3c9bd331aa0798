// SPDX-License-Identifier: Apache-2.0
// Row-wise normalization fused with activation encoding.
#include "layers/norm.h"

#include "kernels/elementwise/elementwise.h"

namespace octavo {
namespace {

// Calls encode(row index, source row) over rows in parallel, with the activations selected.
template <typename SourceRow>
void ProduceWith(Step& step, int64_t num_rows, int64_t cols,
                 std::span<const ActivationSpec> formats, const SourceRow& source) {
  ActivationSet& x = step.ws.activations();
  x.Select(formats, cols);
  x.SetRows(num_rows, /*tiles=*/step.tap == nullptr);  // taps read rows
  step.pool.ParallelFor(num_rows, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t row = begin; row < end; ++row) x.EncodeRow(row, source(row, thread));
  });
}

}  // namespace

void Norm::Row(IsaLevel isa, const float* x, float* y) const {
  const ElementwiseOps& ops = ElementwiseOpsFor(isa);
  if (kind_ == Kind::kRms) {
    ops.rms_norm(x, weight_.data(), size(), eps_, /*weight_offset=*/0, y);
  } else {
    ops.layer_norm(x, weight_.data(), bias_.empty() ? nullptr : bias_.data(), size(), eps_, y);
  }
}

void Norm::Produce(Step& step, ArenaMatrix x, int64_t num_rows,
                   std::span<const ActivationSpec> formats) const {
  ProduceWith(step, num_rows, size(), formats, [&](int64_t row, int thread) {
    float* scratch = step.ws.ThreadScratch(thread);
    Row(step.isa, x.Row(row), scratch);
    return scratch;
  });
}

void Norm::ProduceRows(Step& step, ArenaMatrix x, std::span<const int64_t> rows,
                       std::span<const ActivationSpec> formats) const {
  ProduceWith(step, static_cast<int64_t>(rows.size()), size(), formats,
              [&](int64_t row, int thread) {
                float* scratch = step.ws.ThreadScratch(thread);
                Row(step.isa, x.Row(rows[static_cast<size_t>(row)]), scratch);
                return scratch;
              });
}

void Norm::InPlace(Step& step, ArenaMatrix x, int64_t num_rows) const {
  step.pool.ParallelFor(num_rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) Row(step.isa, x.Row(row), x.Row(row));
  });
}

void ProduceActivations(Step& step, ArenaMatrix x, int64_t num_rows, int64_t cols,
                        std::span<const ActivationSpec> formats) {
  ProduceWith(step, num_rows, cols, formats, [&](int64_t row, int) { return x.Row(row); });
}

void ProduceActivationRows(Step& step, ArenaMatrix x, std::span<const int64_t> rows, int64_t cols,
                           std::span<const ActivationSpec> formats) {
  ProduceWith(step, static_cast<int64_t>(rows.size()), cols, formats,
              [&](int64_t row, int) { return x.Row(rows[static_cast<size_t>(row)]); });
}

}  // namespace octavo
