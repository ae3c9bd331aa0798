// SPDX-License-Identifier: Apache-2.0
// Rotates a model's residual stream and the heads of its values, offline and without changing its
// function, into a checkpoint of its own that everything else reads like any other.
//
// Source: QServe, arXiv:2405.04532, section 4.2 (block input rotation); QuaRot, arXiv:2404.00456,
// section 4 (residual stream, and values between v_proj and o_proj). With row vectors h:
//   h' = h Q               embeddings and what is added to the residual stream:  W' = Q^T W, b' = b Q
//   RMSNorm(h') = RMSNorm(h) Q for gains of 1, so gains move into the linears that read the norm:
//                          W' = W diag(gain) Q; the final norm's into the output projection
//   v' = v P per head      v_proj: W' = P^T W, b' = b P; o_proj's columns: W' = W P
// The output projection stops being tied to the embeddings: only one of them takes the final gain.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "octavo/dtype.h"
#include "octavo/status.h"

namespace octavo {

struct RotateOptions {
  bool residual = true;
  bool values = true;
  // Of rotated tensors; default: their own, bf16 from a GGUF.
  std::optional<DType> dtype = std::nullopt;
  const std::atomic<bool>* cancel = nullptr;  // polled between blocks of rows; may be null
  // Gets bytes of the source done and in all; may be null.
  std::function<void(uint64_t done, uint64_t total)> progress = nullptr;
};

// What was applied, for reports; empty where it was not.
struct RotateResult {
  std::string residual;  // "H28 x H32"
  std::string values;    // "H64"
};

// Which factors RotateCheckpoint uses, without writing anything.
// Errors: Unimplemented for architectures that cannot be rotated, with the reason.
Result<RotateResult> DescribeRotation(const Checkpoint& checkpoint, const RotateOptions& options);

// Writes config.json and safetensors of the rotated model into `folder`, which is made anew, with the
// source's shard names. A folder that has config.json is complete. The result depends on the source
// only. Memory: the largest matrix that is no embedding, in f32.
// Errors: as DescribeRotation; DataLoss for shapes that contradict the config; kCancelled; what reading
// and writing report.
Result<RotateResult> RotateCheckpoint(const Checkpoint& checkpoint, const RotateOptions& options,
                                      const std::string& folder, ThreadPool& pool);

}  // namespace octavo
