// SPDX-License-Identifier: Apache-2.0
// Gathers counters, histograms and rates from the step and output threads. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>

#include "engine/output_processor.h"
#include "engine/step_report.h"
#include "octavo/engine_stats.h"

namespace octavo {

// Mean per second over the last kSeconds whole seconds.
class RateMeter {
 public:
  void Add(SteadyTime now, int64_t count);
  double Rate(SteadyTime now) const;

 private:
  static constexpr int64_t kSeconds = 5;
  std::array<int64_t, kSeconds + 1> counts_{};   // by second % size
  std::array<int64_t, kSeconds + 1> seconds_{};  // which second a slot counts
};

class StatsCollector {
 public:
  StatsCollector();

  // The state of the pool and the queues after a step.
  struct Gauges {
    int64_t num_running = 0;
    int64_t num_waiting = 0;
    int64_t blocks_total = 0;
    int64_t blocks_used = 0;
    int64_t blocks_cached = 0;
    uint64_t blocks_copied = 0;
  };
  void ObserveStep(const StepReport& report, const Gauges& gauges);
  void ObserveGauges(const Gauges& gauges);
  void ObserveFinished(const FinishedRequest& request);
  // Seconds between deliveries of tokens of one choice.
  void ObserveGaps(std::span<const double> seconds);

  EngineStats Snapshot() const;
  void Reset();

 private:
  void SetGauges(const Gauges& gauges);
  static EngineStats Empty();

  mutable std::mutex mutex_;
  EngineStats stats_;
  uint64_t copied_at_reset_ = 0;
  uint64_t copied_ = 0;
  double running_sum_ = 0;
  RateMeter prompt_rate_;
  RateMeter generation_rate_;
};

}  // namespace octavo
