// SPDX-License-Identifier: Apache-2.0
// How much each part of a model minds being quantized, in each of several schemes.
//
// A unit is what engines run as one matrix (q, k and v; gate and up; one linear; all experts of a
// layer), because its modules must be of one scheme. For units and candidates below 6 bits the KL
// divergence of the model's predictions is measured with only that unit rounded to nearest: its layer
// runs with the rounded weights and the disturbed residual stream runs on through the original rest of
// the model. For finer candidates, whose divergence would drown in the noise of a short text, the
// unit's layer alone runs, and the measured divergence is scaled by the squared relative error of the
// residual stream after the layer: KL is quadratic in small disturbances. Divergences of units add up
// to that of a mix as long as they are small.
//
// Cost: (layers + candidates below 6 bits * units / 2) forward passes over the tokens. Memory: one
// layer; the disturbed residual streams wait in a scratch file.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/thread_pool.h"
#include "octavo/status.h"
#include "quantizers/quantize_checkpoint.h"

namespace octavo {

struct SensitivityUnit {
  std::string name;  // "model.layers.3.self_attn.q_proj+k_proj+v_proj"
  int64_t layer = 0;
  std::vector<std::string> modules;
  double weights = 0;
  // By candidate.
  std::vector<double> bits;   // of all modules, scales included
  std::vector<double> error;  // squared, of the residual stream after the layer, relative, mean
  std::vector<double> kl;     // nats per token
};

struct Sensitivity {
  std::vector<std::string> candidates;  // schemes; "dense" for 16 bit
  std::vector<int> group_sizes;         // 0 for schemes without groups
  std::vector<SensitivityUnit> units;   // in order of layers
  int64_t num_tokens = 0;
  std::string source;      // of the tokens
  std::string fingerprint;  // SHA-256 of model, files, tokens and what else the figures depend on

  double weights() const;
};

struct SensitivityOptions {
  std::string model;
  std::vector<std::string> candidates;
  int group_size = 0;               // 0: the candidates' own
  std::vector<std::string> ignore;  // as QuantizeOptions::ignore: these stay dense
  std::shared_ptr<const CalibrationData> data;
  int64_t max_tokens = 512;  // from the first samples
  int threads = 0;
  const std::atomic<bool>* cancel = nullptr;
};

// One measurement of a model: keeps what MeasureMix shares with Measure.
class SensitivityMeter {
 public:
  // `pool` must outlive the meter.
  // Errors: InvalidArgument for candidates that are unknown, do not fit the model or are the same;
  // Unimplemented for architectures that cannot be run.
  static Result<SensitivityMeter> Create(const SensitivityOptions& options, ThreadPool& pool);

  SensitivityMeter(SensitivityMeter&&) noexcept;
  ~SensitivityMeter();

  // `progress` gets units of work done and in all; may be null. Errors: DataLoss where predictions are
  // not finite; kCancelled.
  Result<Sensitivity> Measure(const std::function<void(uint64_t, uint64_t)>& progress);

  // The divergence of a mix: one candidate per unit of Measure's result. Round to nearest.
  Result<double> MeasureMix(const std::vector<int>& choice);

  // What Measure's result would say, to see whether an earlier one fits.
  const std::string& fingerprint() const;

 private:
  class Impl;
  explicit SensitivityMeter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

Json ToJson(const Sensitivity& sensitivity);
// Inverse of ToJson. Errors: InvalidArgument, DataLoss.
Result<Sensitivity> ParseSensitivity(const Json& json);

}  // namespace octavo
