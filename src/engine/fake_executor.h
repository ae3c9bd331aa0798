// SPDX-License-Identifier: Apache-2.0
// For tests: an executor whose KV cache holds token ids, so that a wrong block table, a missed copy
// or a stale prefix changes what is generated.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/executor.h"

namespace octavo::testing {

inline uint64_t Mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9E3779B97F4A7C15u;
  return h ^ (h >> 29);
}

// Logits that are a hash of the tokens each group can see.
inline void FakeLogits(uint64_t history, std::span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(Mix(history, i) >> 40) * 0x1p-22f;  // [0, 4)
  }
}

// The hash of position `last`, taken from the tokens themselves.
inline uint64_t HistoryOf(std::span<const int32_t> tokens, int64_t last,
                          std::span<const int64_t> windows) {
  uint64_t history = 1;
  for (const int64_t window : windows) {
    const int64_t first = window > 0 ? std::max<int64_t>(0, last - window + 1) : 0;
    for (int64_t p = first; p <= last; ++p) {
      history = Mix(history, static_cast<uint64_t>(tokens[static_cast<size_t>(p)]));
    }
  }
  return history;
}

class FakeExecutor final : public Executor {
 public:
  FakeExecutor(int64_t num_blocks, int64_t block_size, std::vector<int64_t> windows, int64_t vocab,
               int num_threads = 1)
      : block_size_(block_size),
        windows_(std::move(windows)),
        vocab_(vocab),
        slots_(static_cast<size_t>(num_blocks * block_size), -1),
        pool_(num_threads) {}

  Status Forward(const ForwardBatch& batch) override {
    ++num_steps;
    num_tokens += batch.num_tokens();
    for (const auto& group : batch.sequences) {
      for (const SequenceSlice& s : group) {
        for (int64_t i = 0; i < s.num_tokens; ++i) {
          Slot(s, s.position + i) = batch.tokens[static_cast<size_t>(s.row_begin + i)];
        }
      }
    }
    rows_.assign(static_cast<size_t>(batch.num_tokens()), 1);
    for (size_t g = 0; g < batch.sequences.size(); ++g) {
      for (const SequenceSlice& s : batch.sequences[g]) {
        for (int64_t i = 0; i < s.num_tokens; ++i) {
          Attend(s, s.position + i, windows_[g], rows_[static_cast<size_t>(s.row_begin + i)]);
        }
      }
    }
    return Status::Ok();
  }

  void Logits(std::span<const int64_t> rows, float* logits) override {
    for (const int64_t row : rows) {
      FakeLogits(rows_[static_cast<size_t>(row)], {logits, static_cast<size_t>(vocab_)});
      logits += vocab_;
    }
  }

  void FinalHidden(int64_t row, float* hidden) override {
    FakeLogits(rows_[static_cast<size_t>(row)], {hidden, static_cast<size_t>(hidden_size())});
  }

  void CopyBlock(int32_t from, int32_t to) override {
    std::copy_n(slots_.begin() + from * block_size_, block_size_,
                slots_.begin() + to * block_size_);
  }

  int64_t vocab_size() const override { return vocab_; }
  int64_t hidden_size() const override { return 8; }
  ThreadPool& pool() override { return pool_; }

  int64_t num_steps = 0;
  int64_t num_tokens = 0;

 private:
  int32_t& Slot(const SequenceSlice& s, int64_t position) {
    const int32_t block = s.block_table[position / block_size_];
    OCTAVO_CHECK(block > 0);
    return slots_[static_cast<size_t>(block * block_size_ + position % block_size_)];
  }

  void Attend(const SequenceSlice& s, int64_t position, int64_t window, uint64_t& history) {
    const int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
    for (int64_t p = first; p <= position; ++p) {
      history = Mix(history, static_cast<uint64_t>(Slot(s, p)));
    }
  }

  int64_t block_size_;
  std::vector<int64_t> windows_;
  int64_t vocab_;
  std::vector<int32_t> slots_;
  std::vector<uint64_t> rows_;
  ThreadPool pool_;
};

}  // namespace octavo::testing
