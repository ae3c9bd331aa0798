// SPDX-License-Identifier: Apache-2.0
// Spin-then-park fork/join.
#include "base/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

namespace octavo {
namespace {

constexpr auto kSpin = std::chrono::microseconds(200);
constexpr int kChunkBits = 8;  // of an epoch and of Slice::taken; kMaxChunks fills them

std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void Pin(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);  // best effort
}

// Spins on `done` for kSpin, then gives the CPU away between checks: an oversubscribed machine must
// not lose a whole time slice to a spinner.
template <typename Done>
bool SpinUntil(const Done& done) {
  for (int i = 0; i < 2000; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  while (std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      _mm_pause();
    }
  }
  return done();
}

}  // namespace

int ThreadPool::AvailableCpus() {
  return std::max<int>(1, static_cast<int>(AllowedCpus().size()));
}

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads > 0 ? num_threads : AvailableCpus()),
      slices_(std::make_unique<Slice[]>(static_cast<size_t>(num_threads_))) {
  const std::vector<int> cpus = AllowedCpus();
  const bool pin = cpus.size() >= static_cast<size_t>(num_threads_);
  for (int i = 1; i < num_threads_; ++i) {
    workers_.emplace_back([this, i] { WorkerMain(i); });
    if (pin) Pin(workers_.back(), cpus[static_cast<size_t>(i)]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1 << kChunkBits);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(const Loop& loop) {
  if (loop.count <= 0) return;
  if (num_threads_ == 1 || loop.count <= loop.grain) {
    loop.call(loop.fn, 0, loop.count, 0);
    return;
  }
  loop_ = loop;
  completed_.store(0, std::memory_order_relaxed);
  const uint64_t number = (epoch_.load(std::memory_order_relaxed) >> kChunkBits) + 1;
  const uint64_t epoch = number << kChunkBits | static_cast<uint64_t>(loop.chunks);
  epoch_.store(epoch, std::memory_order_seq_cst);
  if (parked_.load(std::memory_order_seq_cst) > 0) epoch_.notify_all();
  Work(0, epoch);
  const auto done = [this, &loop] {
    return completed_.load(std::memory_order_acquire) == num_threads_ * loop.chunks;
  };
  while (!SpinUntil(done)) std::this_thread::yield();
}

void ThreadPool::Work(int thread, uint64_t epoch) {
  const uint64_t number = epoch >> kChunkBits, chunks = epoch & kMaxChunks;
  for (int i = 0; i < num_threads_; ++i) {
    const int slice = (thread + i) % num_threads_;
    std::atomic<uint64_t>& taken = slices_[static_cast<size_t>(slice)].taken;
    uint64_t previous = taken.load(std::memory_order_relaxed);
    for (;;) {
      // A worker that comes late, even several loops late, finds its loop's chunks taken.
      const uint64_t last = previous >> kChunkBits, chunk = last == number ? previous & kMaxChunks : 0;
      if (last > number || chunk >= chunks) break;
      if (!taken.compare_exchange_weak(previous, number << kChunkBits | (chunk + 1))) continue;
      // Only now is loop_ certain to stay: Run() waits for this chunk before it starts another loop.
      const Loop loop = loop_;
      const int64_t units = (loop.count + loop.grain - 1) / loop.grain, parts = num_threads_ * loop.chunks;
      const int64_t part = slice * loop.chunks + static_cast<int64_t>(chunk);
      const int64_t begin = units * part / parts * loop.grain;
      const int64_t end = std::min(units * (part + 1) / parts * loop.grain, loop.count);
      if (begin < end) loop.call(loop.fn, begin, end, thread);
      completed_.fetch_add(1, std::memory_order_release);
      previous = taken.load(std::memory_order_relaxed);
    }
  }
}

bool ThreadPool::WaitForEpoch(uint64_t seen) const {
  return SpinUntil([&] { return epoch_.load(std::memory_order_acquire) != seen; });
}

void ThreadPool::WorkerMain(int thread) {
  uint64_t seen = 0;
  for (;;) {
    if (!WaitForEpoch(seen)) {
      parked_.fetch_add(1, std::memory_order_seq_cst);
      epoch_.wait(seen, std::memory_order_seq_cst);
      parked_.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    Work(thread, seen);
  }
}

}  // namespace octavo
