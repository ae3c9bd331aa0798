// SPDX-License-Identifier: Apache-2.0
// Calibrated quantization of a model, one layer after the other, in bounded memory.
//
//   scratch file 0 --layer i, original--> statistics --> scales, codes --> shards
//                  --layer i, quantized--> scratch file 1, which layer i + 1 reads
//
// Each layer sees what the quantized layers before it produce, with the activations they run with.
// octavo_calibration.json in the unfinished folder says which layer comes next and which scratch file
// it reads; a run that was killed continues there and ends with the same bits.
#pragma once

#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "octavo/status.h"
#include "quantizers/calibration_report.h"
#include "quantizers/output_folder.h"
#include "quantizers/quantize_checkpoint.h"
#include "quantizers/quantize_plan.h"
#include "quantizers/shard_writers.h"

namespace octavo {

struct CalibrationJob {
  const QuantizeOptions* options = nullptr;  // with an algorithm other than rtn, and samples
  std::shared_ptr<const Checkpoint> checkpoint;
  const QuantizePlan* plan = nullptr;
  const OutputFolder* folder = nullptr;
  ShardWriters* writers = nullptr;
  ThreadPool* pool = nullptr;
  const QuantizeProgress* progress = nullptr;  // gets GFLOP done and in all
};

// Writes the tensors of all layers' quantized modules, and of norms, biases and routers that changed.
// Other tensors are left to RunShard.
// Errors: Unimplemented for architectures that cannot be run; InvalidArgument for samples that do not
// fit the model, and options the scheme does not go with; those of LayerQuantizer and of writing.
Result<CalibrationReport> CalibrateLayers(const CalibrationJob& job);

// Removes what CalibrateLayers keeps for a run that continues; to be called when all is written.
Status RemoveCalibrationState(const OutputFolder& folder);

// What the result depends on beside the plan and the source: part of the run's fingerprint.
Result<Json> CalibrationFingerprint(const QuantizeOptions& options);

}  // namespace octavo
