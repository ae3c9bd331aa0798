// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms.
#include "engine/stats_collector.h"

#include <algorithm>
#include <utility>

namespace octavo {
namespace {

Histogram WithBounds(std::vector<double> bounds) {
  Histogram histogram;
  histogram.counts.resize(bounds.size() + 1);
  histogram.bounds = std::move(bounds);
  return histogram;
}

void Observe(Histogram& histogram, double value) {
  const auto it = std::lower_bound(histogram.bounds.begin(), histogram.bounds.end(), value);
  ++histogram.counts[static_cast<size_t>(it - histogram.bounds.begin())];
  histogram.sum += value;
  ++histogram.count;
}

int64_t SecondOf(SteadyTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

// vLLM's bucket bounds.
const std::vector<double> kFirstTokenBounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                               0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                               20,    40,    80,   160,  640,  2560};
const std::vector<double> kGapBounds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                        0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const std::vector<double> kRequestBounds = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                            30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const std::vector<double> kTokenBounds = {1,   2,    5,    10,   20,    50,    100,   200,
                                          500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
const std::vector<double> kIterationBounds = {1,   8,   16,   32,   64,   128,
                                              256, 512, 1024, 2048, 4096, 8192};

}  // namespace

void RateMeter::Add(SteadyTime now, int64_t count) {
  const int64_t second = SecondOf(now);
  const auto slot = static_cast<size_t>(second % (kSeconds + 1));
  if (std::exchange(seconds_[slot], second) != second) counts_[slot] = 0;
  counts_[slot] += count;
}

double RateMeter::Rate(SteadyTime now) const {
  const int64_t second = SecondOf(now);
  int64_t total = 0;
  for (size_t slot = 0; slot < counts_.size(); ++slot) {
    if (seconds_[slot] < second && seconds_[slot] >= second - kSeconds) total += counts_[slot];
  }
  return static_cast<double>(total) / static_cast<double>(kSeconds);
}

EngineStats StatsCollector::Empty() {
  EngineStats stats;
  stats.time_to_first_token_s = WithBounds(kFirstTokenBounds);
  stats.inter_token_latency_s = WithBounds(kGapBounds);
  stats.e2e_latency_s = WithBounds(kRequestBounds);
  stats.queue_time_s = WithBounds(kRequestBounds);
  stats.prefill_time_s = WithBounds(kRequestBounds);
  stats.decode_time_s = WithBounds(kRequestBounds);
  stats.request_prompt_tokens = WithBounds(kTokenBounds);
  stats.request_generation_tokens = WithBounds(kTokenBounds);
  stats.iteration_tokens = WithBounds(kIterationBounds);
  return stats;
}

StatsCollector::StatsCollector() : stats_(Empty()) {}

void StatsCollector::SetGauges(const Gauges& gauges) {
  stats_.num_running = gauges.num_running;
  stats_.num_waiting = gauges.num_waiting;
  stats_.kv_blocks_total = gauges.blocks_total;
  stats_.kv_blocks_used = gauges.blocks_used;
  stats_.kv_blocks_cached = gauges.blocks_cached;
  stats_.kv_cache_usage =
      static_cast<double>(gauges.blocks_used) / static_cast<double>(gauges.blocks_total);
  copied_ = gauges.blocks_copied;
  stats_.blocks_copied = copied_ - copied_at_reset_;
}

void StatsCollector::ObserveGauges(const Gauges& gauges) {
  const std::scoped_lock lock(mutex_);
  SetGauges(gauges);
}

void StatsCollector::ObserveStep(const StepReport& report, const Gauges& gauges) {
  const std::scoped_lock lock(mutex_);
  SetGauges(gauges);
  stats_.num_preemptions += static_cast<uint64_t>(report.num_preempted);
  if (report.num_tokens == 0) return;
  const double ms = std::chrono::duration<double, std::milli>(report.end - report.begin).count();
  constexpr double kSmoothing = 0.1;
  stats_.step_ms += (stats_.num_steps == 0 ? 1 : kSmoothing) * (ms - stats_.step_ms);
  ++stats_.num_steps;
  running_sum_ += static_cast<double>(report.num_running);
  stats_.mean_running_seqs = running_sum_ / static_cast<double>(stats_.num_steps);
  stats_.prompt_tokens += static_cast<uint64_t>(report.num_prompt_tokens);
  stats_.generation_tokens += static_cast<uint64_t>(report.num_generated);
  stats_.prefix_cache_queries += static_cast<uint64_t>(report.prefix_queries);
  stats_.prefix_cache_hits += static_cast<uint64_t>(report.prefix_hits);
  stats_.draft_tokens += static_cast<uint64_t>(report.num_drafts);
  stats_.accepted_draft_tokens += static_cast<uint64_t>(report.num_accepted_drafts);
  Observe(stats_.iteration_tokens, static_cast<double>(report.num_tokens));
  prompt_rate_.Add(report.end, report.num_prompt_tokens);
  generation_rate_.Add(report.end, report.num_generated);
}

void StatsCollector::ObserveGaps(std::span<const double> seconds) {
  const std::scoped_lock lock(mutex_);
  for (const double gap : seconds) Observe(stats_.inter_token_latency_s, gap);
}

void StatsCollector::ObserveFinished(const FinishedRequest& request) {
  const std::scoped_lock lock(mutex_);
  switch (request.reason) {
    case FinishReason::kStop:
      ++stats_.requests_stop;
      break;
    case FinishReason::kLength:
      ++stats_.requests_length;
      break;
    case FinishReason::kAbort:
      ++stats_.requests_abort;
      break;
    case FinishReason::kError:
      ++stats_.requests_error;
      break;
  }
  Observe(stats_.request_prompt_tokens, static_cast<double>(request.usage.prompt_tokens));
  Observe(stats_.request_generation_tokens, static_cast<double>(request.usage.completion_tokens));
  Observe(stats_.e2e_latency_s, request.timings.e2e_s);
  Observe(stats_.queue_time_s, request.timings.queue_s);
  if (request.usage.completion_tokens == 0) return;
  Observe(stats_.time_to_first_token_s, request.timings.first_token_s);
  Observe(stats_.prefill_time_s, request.timings.prefill_s);
  Observe(stats_.decode_time_s, request.timings.decode_s);
}

EngineStats StatsCollector::Snapshot() const {
  const std::scoped_lock lock(mutex_);
  EngineStats stats = stats_;
  const SteadyTime now = std::chrono::steady_clock::now();
  stats.prompt_tok_s = prompt_rate_.Rate(now);
  stats.generation_tok_s = generation_rate_.Rate(now);
  return stats;
}

void StatsCollector::Reset() {
  const std::scoped_lock lock(mutex_);
  EngineStats fresh = Empty();
  fresh.num_running = stats_.num_running;
  fresh.num_waiting = stats_.num_waiting;
  fresh.kv_blocks_total = stats_.kv_blocks_total;
  fresh.kv_blocks_used = stats_.kv_blocks_used;
  fresh.kv_blocks_cached = stats_.kv_blocks_cached;
  fresh.kv_cache_usage = stats_.kv_cache_usage;
  stats_ = std::move(fresh);
  copied_at_reset_ = copied_;
  running_sum_ = 0;
}

}  // namespace octavo
