// SPDX-License-Identifier: Apache-2.0
// Arena bookkeeping.
#include "layers/workspace.h"

#include <algorithm>

#include "base/check.h"

namespace octavo {

Status ActivationSet::Reserve(std::span<const ActivationSpec> specs, int64_t max_rows,
                              int64_t cols) {
  for (const ActivationSpec& spec : specs) {
    auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
      return e.cols == cols && e.buffer.view().spec.SameLayout(spec);
    });
    if (it != entries_.end()) continue;
    Entry entry;
    entry.cols = cols;
    OCTAVO_RETURN_IF_ERROR(entry.buffer.Reserve(spec, max_rows, cols));
    entries_.push_back(std::move(entry));
  }
  return Status::Ok();
}

void ActivationSet::SetRows(int64_t rows, bool tiles) {
  for (Entry& entry : entries_) entry.buffer.SetRows(rows, tiles);
}

void ActivationSet::Select(std::span<const ActivationSpec> specs, int64_t cols) {
  for (Entry& entry : entries_) {
    const auto it = std::find_if(specs.begin(), specs.end(), [&](const ActivationSpec& spec) {
      return spec.SameLayout(entry.buffer.view().spec);
    });
    entry.selected = entry.cols == cols && it != specs.end();
    if (entry.selected) entry.buffer.SetStaticScale(it->static_scale);
  }
}

void ActivationSet::EncodeRow(int64_t row, const float* x) {
  for (Entry& entry : entries_) {
    if (entry.selected) entry.buffer.EncodeRow(row, x);
  }
}

const ActivationView& ActivationSet::View(const ActivationSpec& spec) const {
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
    return e.selected && e.buffer.view().spec == spec;
  });
  OCTAVO_CHECK(it != entries_.end());
  return it->buffer.view();
}

size_t ActivationSet::bytes() const {
  size_t sum = 0;
  for (const Entry& entry : entries_) sum += entry.buffer.bytes();
  return sum;
}

Status Workspace::Reserve(Role role, int64_t cols) {
  Slot& slot = slots_[static_cast<size_t>(role)];
  if (slot.cols >= cols) return Status::Ok();
  OCTAVO_ASSIGN_OR_RETURN(
      slot.buffer,
      HugeBuffer::Allocate(static_cast<size_t>(max_tokens_ * cols) * sizeof(float)));
  slot.cols = cols;
  return Status::Ok();
}

ArenaMatrix Workspace::Matrix(Role role, int64_t cols) const {
  Slot& slot = slots_[static_cast<size_t>(role)];
  OCTAVO_CHECK(cols <= slot.cols);
  return {.data = reinterpret_cast<float*>(slot.buffer.data()), .row_stride = cols};
}

Status Workspace::ReserveThreadScratch(int num_threads, int64_t floats) {
  floats = (floats + 31) / 16 * 16;
  if (num_threads <= scratch_threads_ && floats <= scratch_floats_) return Status::Ok();
  scratch_threads_ = std::max(num_threads, scratch_threads_);
  scratch_floats_ = std::max(floats, scratch_floats_);
  const auto count = static_cast<size_t>(scratch_threads_ * scratch_floats_);
  OCTAVO_ASSIGN_OR_RETURN(scratch_, AlignedBuffer::Allocate(count * sizeof(float)));
  return Status::Ok();
}

float* Workspace::ThreadScratch(int thread) const {
  OCTAVO_DCHECK(thread < scratch_threads_);
  return scratch_.As<float>() + thread * scratch_floats_;
}

size_t Workspace::bytes() const {
  size_t sum = activations_.bytes() + scratch_.size();
  for (const Slot& slot : slots_) sum += slot.buffer.size();
  return sum;
}

}  // namespace octavo
