// SPDX-License-Identifier: Apache-2.0
// A queue of row blocks that threads drain in file order.
#include "quantizers/shard_pipeline.h"

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "kernels/quantize/quantize.h"

namespace octavo {
namespace {

// Large enough for sequential reads and writes, small enough that a thread's buffers stay far below
// the memory bound.
constexpr int64_t kBlockBytes = int64_t{4} << 20;

struct Block {
  const PlannedTensor* tensor;
  int64_t begin;  // rows; bytes for tensors that are copied as they are
  int64_t count;
  std::atomic<int64_t>* blocks_left;  // of the tensor
};

// Buffers of one thread.
struct Scratch {
  std::vector<std::byte> bytes;
  std::vector<uint16_t> halves;
  std::vector<float> x;
  QuantizedRows rows;
  std::vector<TensorPiece> pieces;
};

class ShardRun {
 public:
  explicit ShardRun(const ShardJob& job) : job_(job) {}

  Status Run(ThreadPool& pool) {
    for (const PlannedTensor& tensor : job_.shard->tensors) Enqueue(tensor);
    pool.ParallelFor(pool.num_threads(), 1,
                     [this](int64_t begin, int64_t end, int /*thread*/) {
                       for (int64_t i = begin; i < end; ++i) Drain();
                     });
    return std::move(status_);
  }

 private:
  bool Copied(const PlannedTensor& tensor) const {
    return !tensor.module && !job_.checkpoint->is_gguf();
  }

  void Enqueue(const PlannedTensor& tensor) {
    const bool complete =
        std::all_of(tensor.outputs.begin(), tensor.outputs.end(),
                    [this](const TensorSpec& spec) { return job_.writer->IsComplete(spec.name); });
    if (complete) return job_.progress->Add(tensor.source->bytes);
    int64_t total = tensor.source->rows();
    int64_t step = 0;
    if (Copied(tensor)) {
      total = static_cast<int64_t>(tensor.source->bytes);
      step = kBlockBytes;
    } else {
      const int64_t row_bytes = std::max<int64_t>(tensor.source->cols() * 4, 1);
      step = std::max<int64_t>(kBlockBytes / row_bytes / kRowAlignment, 1) * kRowAlignment;
    }
    std::atomic<int64_t>& left = blocks_left_.emplace_back(std::max<int64_t>((total + step - 1) / step, 1));
    blocks_.push_back({&tensor, 0, std::min(step, total), &left});
    for (int64_t begin = step; begin < total; begin += step) {
      blocks_.push_back({&tensor, begin, std::min(step, total - begin), &left});
    }
  }

  void Drain() {
    Scratch scratch;
    for (size_t i = next_.fetch_add(1); i < blocks_.size(); i = next_.fetch_add(1)) {
      if (stop_.load(std::memory_order_relaxed)) return;
      Status status = Status::Ok();
      if (job_.cancel != nullptr && job_.cancel->load(std::memory_order_relaxed)) {
        status = Cancelled("interrupted");
      } else {
        status = Process(blocks_[i], scratch);
      }
      if (status.ok()) continue;
      const std::lock_guard lock(mutex_);
      stop_.store(true, std::memory_order_relaxed);
      if (status_.ok()) status_ = std::move(status);
      return;
    }
  }

  Status Process(const Block& block, Scratch& scratch) {
    const PlannedTensor& tensor = *block.tensor;
    if (tensor.module) {
      OCTAVO_RETURN_IF_ERROR(Quantize(block, scratch));
    } else if (Copied(tensor)) {
      OCTAVO_RETURN_IF_ERROR(Copy(block, scratch));
    } else {
      OCTAVO_RETURN_IF_ERROR(RoundToBf16(block, scratch));
    }
    job_.progress->Add(Copied(tensor) ? static_cast<uint64_t>(block.count)
                                      : static_cast<uint64_t>(block.count) * tensor.source->RowBytes());
    if (block.blocks_left->fetch_sub(1) > 1) return Status::Ok();
    for (const TensorSpec& spec : tensor.outputs) {
      OCTAVO_RETURN_IF_ERROR(job_.writer->MarkComplete(spec.name));
    }
    return Status::Ok();
  }

  Status Copy(const Block& block, Scratch& scratch) {
    const StoredTensor& source = *block.tensor->source;
    scratch.bytes.resize(static_cast<size_t>(block.count));
    const auto offset = static_cast<uint64_t>(block.begin);
    OCTAVO_RETURN_IF_ERROR(
        source.file->ReadRange(source.offset + offset, scratch.bytes.size(), scratch.bytes.data()));
    return job_.writer->WriteAt(source.name, offset, scratch.bytes);
  }

  // GGUF tensors that stay dense.
  Status RoundToBf16(const Block& block, Scratch& scratch) {
    const StoredTensor& source = *block.tensor->source;
    scratch.halves.resize(static_cast<size_t>(block.count * source.cols()));
    OCTAVO_RETURN_IF_ERROR(job_.checkpoint->ReadRowsBf16(source, block.begin, block.count,
                                                         scratch.halves.data()));
    return job_.writer->WriteAt(source.name, static_cast<uint64_t>(block.begin * source.cols()) * 2,
                                std::as_bytes(std::span(scratch.halves)));
  }

  Status ReadOriginal(const Block& block, Scratch& scratch) {
    const StoredTensor& source = *block.tensor->source;
    const auto elements = static_cast<size_t>(block.count * source.cols());
    scratch.x.resize(elements);
    if (!job_.checkpoint->is_gguf() && source.dtype != DType::kBF16) {
      return job_.checkpoint->ReadRowsF32(source, block.begin, block.count, scratch.x.data());
    }
    scratch.halves.resize(elements);
    OCTAVO_RETURN_IF_ERROR(job_.checkpoint->ReadRowsBf16(source, block.begin, block.count,
                                                         scratch.halves.data()));
    ActiveQuantizeOps().widen_bf16(scratch.halves.data(), static_cast<int64_t>(elements),
                                   scratch.x.data());
    return Status::Ok();
  }

  Status Quantize(const Block& block, Scratch& scratch) {
    OCTAVO_RETURN_IF_ERROR(ReadOriginal(block, scratch));
    const ModuleRecipe& recipe = *block.tensor->recipe;
    TargetModule module = *block.tensor->module;
    OCTAVO_RETURN_IF_ERROR(recipe.scheme->quantize(module, scratch.x.data(), block.begin, block.count,
                                                   scratch.rows));
    if (recipe.form != recipe.scheme) {
      recipe.scheme->to_w8a8(module, scratch.rows);
      module.args = recipe.form->args;
    }
    recipe.form->encode(module, scratch.rows, block.begin, scratch.pieces);
    for (size_t i = 0; i < scratch.pieces.size(); ++i) {
      if (scratch.pieces[i].bytes.empty()) continue;
      OCTAVO_RETURN_IF_ERROR(job_.writer->WriteAt(block.tensor->outputs[i].name,
                                                  scratch.pieces[i].offset,
                                                  scratch.pieces[i].bytes));
    }
    return Status::Ok();
  }

  const ShardJob& job_;
  std::vector<Block> blocks_;
  std::deque<std::atomic<int64_t>> blocks_left_;  // a deque: its elements never move
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  Status status_;
};

}  // namespace

Status RunShard(const ShardJob& job, ThreadPool& pool) { return ShardRun(job).Run(pool); }

}  // namespace octavo
