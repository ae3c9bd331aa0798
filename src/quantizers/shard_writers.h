// SPDX-License-Identifier: Apache-2.0
// The writers of all shards of a run: calibration fills tensors layer by layer, wherever they lie.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "quantizers/output_folder.h"
#include "quantizers/quantize_plan.h"

namespace octavo {

// Specs of all tensors of a shard.
std::vector<TensorSpec> SpecsOf(const PlannedShard& shard);

// Opens (or continues) the writer of one shard, which is not in the folder yet.
Result<std::unique_ptr<SafetensorsWriter>> OpenShard(const PlannedShard& shard,
                                                     const OutputFolder& folder,
                                                     const std::string& fingerprint);

class ShardWriters {
 public:
  // One writer per shard of the plan, null where the shard is finished.
  ShardWriters(const QuantizePlan& plan, std::vector<std::unique_ptr<SafetensorsWriter>> writers);

  // Hands the writer over, for the rest of the shard.
  std::unique_ptr<SafetensorsWriter> Take(size_t shard) { return std::move(writers_[shard]); }

  // Whether all outputs of a tensor are on disk or marked complete.
  bool IsComplete(const PlannedTensor& tensor) const;

  // Writes whole tensors by name and marks them complete.
  Status Write(const std::string& name, std::span<const std::byte> bytes);

  // Everything marked complete so far survives a crash.
  Status Flush();

 private:
  std::vector<std::unique_ptr<SafetensorsWriter>> writers_;
  std::unordered_map<std::string, size_t> shard_of_;  // by name of an output tensor
};

}  // namespace octavo
