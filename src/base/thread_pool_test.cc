// SPDX-License-Identifier: Apache-2.0
// Coverage, disjointness and reuse of the fork/join pool.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>

namespace octavo {
namespace {

TEST(ThreadPoolTest, CoversEveryIndexOnceInGrainMultiples) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 5, 16, 17, 1000}) {
      for (const int chunks : {1, 4, ThreadPool::kMaxChunks}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
        const auto hit = [&](int64_t begin, int64_t end, int thread) {
          EXPECT_EQ(begin % 4, 0);
          EXPECT_LT(thread, threads);
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        };
        pool.ParallelFor(count, 4, hit, chunks);
        for (const auto& h : hits) EXPECT_EQ(h.load(), 1);
      }
    }
  }
}

TEST(ThreadPoolTest, SurvivesManyShortLoopsAndPauses) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 20000; ++i) {
    pool.ParallelFor(3, 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; }, 1 + i % 3);
    if (i % 5000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers park
  }
  EXPECT_EQ(sum.load(), 60000);
}

TEST(ThreadPoolTest, SharesTheChunksOfASlowThread) {
  ThreadPool pool(2);
  std::atomic<int> done{0};
  const auto wait_in_the_first = [&](int64_t begin, int64_t, int) {
    while (begin == 0 && done.load() < 7) std::this_thread::yield();  // for ever, if its slice were its own
    ++done;
  };
  pool.ParallelFor(8, 1, wait_in_the_first, 4);
  EXPECT_EQ(done.load(), 8);
}

}  // namespace
}  // namespace octavo
