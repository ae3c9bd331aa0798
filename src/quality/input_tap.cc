// SPDX-License-Identifier: Apache-2.0
// Accumulates what a tap sees.
#include "quality/input_tap.h"

#include <algorithm>

namespace octavo {

InputTap::InputTap(int64_t sample_rows, int64_t expected_rows)
    : sample_rows_(sample_rows),
      stride_(sample_rows == 0 ? 1 : std::max<int64_t>(1, expected_rows / sample_rows)) {}

void InputTap::Add(std::string_view name, const ActivationView& x) {
  auto found = slots_.find(name);
  if (found == slots_.end()) found = slots_.emplace(std::string(name), Slot{}).first;
  Slot& slot = found->second;
  const int64_t seen = slot.stats.rows();
  slot.stats.Add(x);
  const auto cols = static_cast<size_t>(x.cols);
  for (int64_t row = 0; row < x.rows; ++row) {
    if ((seen + row) % stride_ != 0) continue;
    if (slot.sample.size() >= static_cast<size_t>(sample_rows_) * cols) return;
    slot.sample.resize(slot.sample.size() + cols);
    DecodeActivationRow(x, row, slot.sample.data() + slot.sample.size() - cols);
  }
}

}  // namespace octavo
