// SPDX-License-Identifier: Apache-2.0
// How kernels are measured against the machine: bursts of a peak loop, the kernel and plain reads next
// to each other on one thread, in its CPU time.
//
// Neighbours take cores and DRAM at any moment, so absolute times mean little; what counts is the
// median of the rounds' ratios.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace octavo {

// Seconds of the calling thread's CPU time that fn() takes.
template <typename Fn>
double ThreadSeconds(const Fn& fn) {
  const auto now = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double start = now();
  fn();
  return now() - start;
}

// What one round found. Rates per second.
struct SpeedRound {
  double seconds = 0;     // of one call
  double operations = 0;  // multiplies and adds
  double bytes = 0;       // weights or KV cache that one call reads
  double peak_rate = 0;   // operations, of the loop that bounds the kernel
  double read_rate = 0;   // bytes; 0: not measured
};

// Medians over rounds.
struct KernelSpeed {
  double seconds = 0;
  double gop_s = 0;
  double gb_s = 0;
  double pct_peak = 0;
  double best_pct_peak = 0;  // of the best round
  double pct_read = 0;
};

inline KernelSpeed Summarize(const std::vector<SpeedRound>& rounds) {
  const auto median = [&](const auto& value) {
    std::vector<double> v;
    for (const SpeedRound& round : rounds) v.push_back(value(round));
    std::ranges::nth_element(v, v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
    return v[v.size() / 2];
  };
  if (rounds.empty()) return {};
  const auto of_peak = [](const SpeedRound& r) { return 100 * r.operations / r.seconds / r.peak_rate; };
  KernelSpeed speed;
  speed.seconds = median([](const SpeedRound& r) { return r.seconds; });
  speed.gop_s = rounds.front().operations / speed.seconds * 1e-9;
  speed.gb_s = rounds.front().bytes / speed.seconds * 1e-9;
  speed.pct_peak = median(of_peak);
  for (const SpeedRound& round : rounds) speed.best_pct_peak = std::max(speed.best_pct_peak, of_peak(round));
  speed.pct_read = median([](const SpeedRound& r) {
    return r.read_rate > 0 ? 100 * r.bytes / r.seconds / r.read_rate : 0.0;
  });
  return speed;
}

}  // namespace octavo
