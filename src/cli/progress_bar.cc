// SPDX-License-Identifier: Apache-2.0
// Drawing of the progress bar.
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/report.h"

namespace octavo {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kLogInterval = std::chrono::seconds(30);
constexpr int kBarWidth = 24;

std::string Bar(double share) {
  const int filled = static_cast<int>(share * kBarWidth);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  return bar;
}

}  // namespace

ProgressBar::ProgressBar(Options options)
    : options_(std::move(options)),
      terminal_(isatty(fileno(options_.stream)) == 1),
      start_(Clock::now()),
      drawn_(start_) {}

ProgressBar::~ProgressBar() { Finish(); }

void ProgressBar::Update(uint64_t done, uint64_t total) {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  done_ = std::max(done_, done);
  total_ = total;
  const Clock::time_point now = Clock::now();
  if (now - drawn_ >= (terminal_ ? Clock::duration(kTerminalInterval) : Clock::duration(kLogInterval))) {
    Draw(now);
  }
}

void ProgressBar::Finish() {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  finished_ = true;
  if (terminal_ && any_) {
    Draw(Clock::now());
    std::fputc('\n', options_.stream);
  }
}

void ProgressBar::Draw(Clock::time_point now) {
  drawn_ = now;
  any_ = true;
  const std::string line =
      Line(done_, total_, std::chrono::duration<double>(now - start_).count());
  // \r returns to the line's start, \033[K clears what a longer line left behind.
  fmt::print(options_.stream, "{}{}{}", terminal_ ? "\r" : "", line, terminal_ ? "\033[K" : "\n");
  std::fflush(options_.stream);
}

std::string ProgressBar::Line(uint64_t done, uint64_t total, double elapsed_s) const {
  const double rate = elapsed_s > 0 ? static_cast<double>(done) / elapsed_s : 0;
  const std::string speed = options_.unit == Unit::kBytes
                                ? FormatBytes(static_cast<uint64_t>(rate)) + "/s"
                                : fmt::format("{:.{}f} {}/s", rate, rate < 10 ? 2 : 0, options_.item_name);
  if (total == 0) return fmt::format("{}  {}", options_.label, speed);
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const std::string end =
      done >= total ? FormatDuration(elapsed_s)
      : rate > 0    ? "ETA " + FormatDuration(static_cast<double>(total - done) / rate)
                    : "ETA ?";
  return fmt::format("{}  [{}] {:3.0f} %  {}  {}", options_.label, Bar(share), share * 100, speed, end);
}

}  // namespace octavo
