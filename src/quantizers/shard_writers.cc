// SPDX-License-Identifier: Apache-2.0
// Opens writers and finds the one of a tensor.
#include "quantizers/shard_writers.h"

#include <algorithm>
#include <utility>

namespace octavo {

std::vector<TensorSpec> SpecsOf(const PlannedShard& shard) {
  std::vector<TensorSpec> specs;
  for (const PlannedTensor& tensor : shard.tensors) {
    specs.insert(specs.end(), tensor.outputs.begin(), tensor.outputs.end());
  }
  return specs;
}

Result<std::unique_ptr<SafetensorsWriter>> OpenShard(const PlannedShard& shard,
                                                     const OutputFolder& folder,
                                                     const std::string& fingerprint) {
  SafetensorsWriter::Options options;
  options.keep_partial = true;
  options.fingerprint = fingerprint;
  return SafetensorsWriter::Create(folder.FilePath(shard.file_name), SpecsOf(shard), options);
}

ShardWriters::ShardWriters(const QuantizePlan& plan,
                           std::vector<std::unique_ptr<SafetensorsWriter>> writers)
    : writers_(std::move(writers)) {
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    for (const TensorSpec& spec : SpecsOf(plan.shards[i])) shard_of_[spec.name] = i;
  }
}

bool ShardWriters::IsComplete(const PlannedTensor& tensor) const {
  return std::all_of(tensor.outputs.begin(), tensor.outputs.end(), [this](const TensorSpec& spec) {
    const SafetensorsWriter* writer = writers_[shard_of_.at(spec.name)].get();
    return writer == nullptr || writer->IsComplete(spec.name);
  });
}

Status ShardWriters::Write(const std::string& name, std::span<const std::byte> bytes) {
  SafetensorsWriter* writer = writers_[shard_of_.at(name)].get();
  // A shard that is finished already was finished by the run being continued, with these bytes.
  return writer == nullptr ? Status::Ok() : writer->WriteTensor(name, bytes);
}

Status ShardWriters::Flush() {
  for (const auto& writer : writers_) {
    if (writer != nullptr) OCTAVO_RETURN_IF_ERROR(writer->Flush());
  }
  return Status::Ok();
}

}  // namespace octavo
