// SPDX-License-Identifier: Apache-2.0
// A progress bar on standard error: share done, rate and time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

namespace octavo {

// Draws "quantize  [=====>    ]  52 %  1.2 GiB/s  ETA 12 s" in place. On a terminal it redraws at most
// ten times a second; elsewhere (a log) it prints a plain line every 30 seconds, so short work stays
// silent and long work shows that it lives. Thread-safe.
class ProgressBar {
 public:
  enum class Unit { kBytes, kItems };
  struct Options {
    std::string label;
    Unit unit = Unit::kItems;
    std::string item_name = "items";  // for Unit::kItems: "windows", "tokens"
    std::FILE* stream = stderr;
  };

  explicit ProgressBar(Options options);
  // Leaves the last drawing in place and ends its line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `done` of `total` units are done; total 0 means unknown. Calls may go backwards in time order.
  void Update(uint64_t done, uint64_t total);

  // Draws the last state and ends the line; later calls do nothing.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string Line(uint64_t done, uint64_t total, double elapsed_s) const;
  void Draw(Clock::time_point now);

  const Options options_;
  const bool terminal_;
  const Clock::time_point start_;
  std::mutex mutex_;
  Clock::time_point drawn_;
  uint64_t done_ = 0;
  uint64_t total_ = 0;
  bool any_ = false;
  bool finished_ = false;
};

}  // namespace octavo
