// SPDX-License-Identifier: Apache-2.0
// Streams the tensors of one shard from the source through a scheme into a safetensors file.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "quantizers/quantize_plan.h"

namespace octavo {

// Shared by all shards of a run; counts input bytes and reports them.
class PipelineProgress {
 public:
  PipelineProgress(uint64_t total, const QuantizeProgress& report) : total_(total), report_(report) {}

  void Add(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (report_) report_(done_, total_);
  }

 private:
  const uint64_t total_;
  const QuantizeProgress& report_;
  std::mutex mutex_;
  uint64_t done_ = 0;
};

struct ShardJob {
  const Checkpoint* checkpoint = nullptr;
  const PlannedShard* shard = nullptr;
  SafetensorsWriter* writer = nullptr;
  PipelineProgress* progress = nullptr;
  const std::atomic<bool>* cancel = nullptr;
};

// Writes every tensor of the shard that the writer does not have yet. Blocks of rows go to the pool's
// threads in file order; each thread holds one block. Returns the first error, after which nothing
// new is started; kCancelled when the flag was set.
Status RunShard(const ShardJob& job, ThreadPool& pool);

}  // namespace octavo
