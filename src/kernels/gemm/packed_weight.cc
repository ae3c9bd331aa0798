// SPDX-License-Identifier: Apache-2.0
// Choosing kernels, packing in parallel, and splitting a product between threads.
#include "kernels/gemm/packed_weight.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "kernels/activation_outliers.h"

namespace octavo {
namespace {

constexpr int64_t kLine = 64;      // the unit in which the buffer is cut; a panel starts on a line
constexpr int64_t kRowGrain = 32;  // rows per unit when rows are split instead of channels

// With many rows a panel takes so long that threads share out what is left of a slow one's slice.
int ChunksOf(int64_t rows, int64_t panels, int threads) {
  return rows < 64 ? 1 : static_cast<int>(std::clamp<int64_t>(panels / (3 * threads), 1, 8));
}

// Keeps the first error of several threads.
class FirstError {
 public:
  void Set(Status status) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  Status Take() { return std::move(status_); }

 private:
  std::mutex mutex_;
  Status status_;
};

// Decodes and packs panels [begin, end) of one part.
Status PackPanels(const WeightPart& part, const PackedWeight::PartInfo& info, std::byte* memory,
                  int64_t begin, int64_t end) {
  const int64_t channels = info.kernel->panel_channels;
  WeightRows rows;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * channels;
    const int64_t count = std::min(channels, part.spec.n - first);
    rows.Resize(part.spec, count);
    OCTAVO_RETURN_IF_ERROR(part.rows(first, count, rows));
    if (rows.count != count) {
      return Internal(fmt::format("weight source returned {} rows, want {}", rows.count, count));
    }
    rows.Resize(part.spec, channels);  // rows beyond n are zeros
    rows.ZeroFrom(part.spec, count);
    std::byte* panel = memory + info.offset + static_cast<size_t>(p) * info.panel_bytes;
    info.kernel->pack(part.spec, rows, panel);
  }
  return Status::Ok();
}

// Whether the part can be split into int8 and outliers as it asks.
Status CheckOutliers(const WeightPart& part, const GemmKernel& kernel) {
  const KeptColumns& kept = part.kept;
  if (part.outlier_threshold == 0 && kept.empty()) return Status::Ok();
  const WeightSpec& spec = part.spec;
  const bool channels = spec.scales == ScaleLayout::kChannel || spec.scales == ScaleLayout::kNone;
  const bool int8 = part.format == ActivationFormat::kInt8 && kernel.columns != nullptr;
  const bool all_kept = part.format == ActivationFormat::kF32 && std::ssize(kept.columns) == spec.k;
  if (!(int8 || all_kept) || !channels || spec.k > kMaxOutlierCols || !(part.outlier_threshold > 0) ||
      kernel.panel_channels > kMaxOutlierChannels || kernel.panel_channels % 16 != 0) {
    return Unimplemented(fmt::format("packed weight [{}, {}]: outliers of {} and more with {} activations in {}",
                                     spec.n, spec.k, part.outlier_threshold, NameOf(part.format), kernel.name));
  }
  const bool sorted =
      std::ranges::adjacent_find(kept.columns, std::ranges::greater_equal()) == kept.columns.end();
  if (sorted && (kept.empty() || kept.columns.back() < spec.k) &&
      kept.values.size() == kept.columns.size() * static_cast<size_t>(spec.n)) {
    return Status::Ok();
  }
  return InvalidArgument(fmt::format("packed weight [{}, {}]: {} kept columns with {} values, want ascending "
                                     "columns of n values each", spec.n, spec.k, kept.columns.size(),
                                     kept.values.size()));
}

}  // namespace

Result<PackedWeight> PackedWeight::Pack(const std::vector<WeightPart>& parts, IsaLevel isa,
                                        ThreadPool& pool, HugeBuffer memory) {
  if (parts.empty()) return InvalidArgument("packed weight: no parts");
  PackedWeight packed;
  packed.k_ = parts.front().spec.k;
  packed.outlier_ops_ = &OutlierOpsFor(isa);
  size_t bytes = 0;
  for (const WeightPart& part : parts) {
    PartInfo info;
    info.spec = part.spec;
    info.kernel = FindGemmKernel(part.spec, part.format, isa);
    if (info.kernel == nullptr) {
      return Unimplemented(fmt::format(
          "packed weight [{}, {}]: no kernel for code type {}, scales {}, group {} with activations {}",
          part.spec.n, part.spec.k, static_cast<int>(part.spec.code),
          static_cast<int>(part.spec.scales), part.spec.group_size, static_cast<int>(part.format)));
    }
    if (part.spec.k != packed.k_) {
      return InvalidArgument(
          fmt::format("packed weight: parts with k {} and {}", packed.k_, part.spec.k));
    }
    OCTAVO_RETURN_IF_ERROR(CheckOutliers(part, *info.kernel));
    info.activation = RequiredActivation(part.spec, part.format, part.outlier_threshold,
                                         part.static_scale);
    info.activation.tiles = info.kernel->reads_tiles;
    info.kept = part.kept;
    info.n_begin = packed.n_;
    info.offset = bytes;
    info.panel_bytes = info.kernel->panel_bytes(part.spec);
    info.panels = (part.spec.n + info.kernel->panel_channels - 1) / info.kernel->panel_channels;
    bytes += info.panel_bytes * static_cast<size_t>(info.panels);
    packed.n_ += part.spec.n;
    if (std::ranges::find(packed.activations_, info.activation) == packed.activations_.end()) {
      packed.activations_.push_back(info.activation);
    }
    packed.parts_.push_back(info);
  }
  if (memory.size() < bytes) {
    OCTAVO_ASSIGN_OR_RETURN(memory, HugeBuffer::Allocate(bytes));
  }
  packed.memory_ = std::move(memory);

  FirstError error;
  pool.ParallelFor(packed.Lines(nullptr), 1, [&](int64_t begin, int64_t end, int) {
    packed.ForPanels(nullptr, begin, end, [&](size_t part, int64_t panel_begin, int64_t panel_end) {
      Status status = PackPanels(parts[part], packed.parts_[part], packed.memory_.data(), panel_begin,
                                 panel_end);
      if (!status.ok()) error.Set(std::move(status));
    });
  });
  OCTAVO_RETURN_IF_ERROR(error.Take());
  return packed;
}

int64_t PackedWeight::Lines(const ActivationSpec* only) const {
  int64_t lines = 0;
  for (const PartInfo& part : parts_) {
    if (only != nullptr && !(part.activation == *only)) continue;
    lines += part.panels * static_cast<int64_t>(part.panel_bytes) / kLine;
  }
  return lines;
}

// Calls fn(part, panel_begin, panel_end) for the panels that start within [line_begin, line_end) of
// the chosen parts laid end to end.
template <typename Fn>
void PackedWeight::ForPanels(const ActivationSpec* only, int64_t line_begin, int64_t line_end,
                             const Fn& fn) const {
  int64_t start = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PartInfo& part = parts_[i];
    if (only != nullptr && !(part.activation == *only)) continue;
    const int64_t lines = static_cast<int64_t>(part.panel_bytes) / kLine;
    const auto panel_at = [&](int64_t line) {
      return std::clamp<int64_t>((line - start + lines - 1) / lines, 0, part.panels);
    };
    const int64_t begin = line_begin <= start ? 0 : panel_at(line_begin);
    const int64_t end = line_end <= start ? 0 : panel_at(line_end);
    if (begin < end) fn(i, begin, end);
    start += part.panels * lines;
  }
}

void PackedWeight::MultiplyRows(const ActivationView& x, const GemmOutput& y, int64_t line_begin,
                                int64_t line_end) const {
  ForPanels(&x.spec, line_begin, line_end, [&](size_t i, int64_t panel_begin, int64_t panel_end) {
    const PartInfo& part = parts_[i];
    GemmCall call;
    call.x = x;
    call.weight = &part.spec;
    call.packed = memory_.data() + part.offset;
    call.y = y;
    call.y.out += part.n_begin;
    if (y.bias != nullptr) call.y.bias += part.n_begin;
    part.kernel->run(call, panel_begin, panel_end);
    if (x.outliers == nullptr) return;
    AddOutliers(*part.kernel, call, part.kept, *outlier_ops_, panel_begin, panel_end);
  });
}

void PackedWeight::Multiply(const ActivationView& x, const GemmOutput& y, ThreadPool& pool) const {
  OCTAVO_DCHECK(x.cols == k_);
  if (x.rows == 0) return;
  int64_t panels = 0;
  for (const PartInfo& part : parts_) panels += part.activation == x.spec ? part.panels : 0;
  // Silence would leave `y` as it was: whoever encodes activations takes their spec from activations().
  OCTAVO_CHECK(panels > 0 && "no part wants these activations");
  const int64_t lines = Lines(&x.spec);
  const int threads = pool.num_threads();
  // Too few panels to share out evenly, but enough rows: split rows.
  if (threads > 1 && panels < 6 * threads && panels % threads != 0 && x.rows >= kRowGrain * threads) {
    pool.ParallelFor(x.rows, kRowGrain, [&](int64_t begin, int64_t end, int) {
      GemmOutput slice = y;
      slice.out += begin * y.row_stride;
      MultiplyRows(x.Slice(begin, end - begin), slice, 0, lines);
    });
    return;
  }
  pool.ParallelFor(lines, 1, [&](int64_t begin, int64_t end, int) { MultiplyRows(x, y, begin, end); },
                   ChunksOf(x.rows, panels, threads));
}

size_t PackedWeight::bytes() const {
  size_t bytes = memory_.size();
  for (const PartInfo& part : parts_) bytes += part.kept.values.size() * sizeof part.kept.values[0];
  return bytes;
}

std::string PackedWeight::KernelNames() const {
  std::vector<std::string_view> names;
  for (const PartInfo& part : parts_) {
    const std::string_view name = part.kernel->name;
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, "+"));
}

}  // namespace octavo
