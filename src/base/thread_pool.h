// SPDX-License-Identifier: Apache-2.0
// A pool of pinned threads for fork/join loops of a few microseconds.
//
// A decode step runs some 200 short parallel loops, so workers spin between loops and park on a futex
// only when nothing has come for a while (a futex wake-up costs 40 us from idle, a spin 0.2 us).
// Work is split into contiguous slices that do not depend on timing; a thread that finishes its own
// slice early takes slices of others, or chunks of them, so results never depend on who computed what. A loop
// ends when its slices are done, not when every worker has woken: a neighbour that holds a CPU costs
// its share of the speed, not a time slice per loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace octavo {

class ThreadPool {
 public:
  // `num_threads` includes the calling thread; 0 means one per CPU this process may use. Pinning is
  // best effort: it is skipped when there are more threads than CPUs.
  explicit ThreadPool(int num_threads = 0);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  int num_threads() const { return num_threads_; }

  // CPUs this process may run on.
  static int AvailableCpus();

  // Calls fn(begin, end, thread) over disjoint ranges that cover [0, count); every range but the last
  // is a multiple of `grain`. Slice i of num_threads() slices goes to thread i first, so two loops of
  // equal count touch the same data from the same thread. `fn` must not throw and must not call
  // ParallelFor on the same pool. Called from one thread at a time.
  //
  // `chunks` (1 .. kMaxChunks) cuts every slice, so that what is left of a slow thread's is shared: for loops long
  // enough that waiting for the slowest costs more than a call per chunk.
  template <typename Fn>
  void ParallelFor(int64_t count, int64_t grain, const Fn& fn, int chunks = 1) {
    static_assert(std::is_invocable_v<Fn, int64_t, int64_t, int>);
    Run({count, grain, chunks, &fn, [](const void* f, int64_t begin, int64_t end, int thread) {
           (*static_cast<const Fn*>(f))(begin, end, thread);
         }});
  }

  static constexpr int kMaxChunks = 255;

 private:
  struct Loop {
    int64_t count;
    int64_t grain;
    int chunks;
    const void* fn;
    void (*call)(const void* fn, int64_t begin, int64_t end, int thread);
  };
  struct alignas(64) Slice {
    std::atomic<uint64_t> taken{0};  // the loop that last used it, and how many of its chunks are taken
  };

  void Run(const Loop& loop);
  void Work(int thread, uint64_t epoch);
  void WorkerMain(int thread);
  bool WaitForEpoch(uint64_t seen) const;

  int num_threads_;
  std::vector<std::thread> workers_;
  std::unique_ptr<Slice[]> slices_;
  Loop loop_{};
  alignas(64) std::atomic<uint64_t> epoch_{0};  // number of the loop << 8 | its chunks
  alignas(64) std::atomic<int> completed_{0};   // chunks of the current loop that are done
  alignas(64) std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace octavo
