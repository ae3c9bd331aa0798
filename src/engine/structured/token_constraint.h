// SPDX-License-Identifier: Apache-2.0
// Structured output of one sequence: which tokens may come next.
//
// The step thread reports accepted tokens and, at the next draw, asks for the mask; in between,
// while the forward pass runs, a worker thread computes it. Masks of places already visited are
// remembered.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/structured/automaton.h"
#include "engine/structured/grammar.h"
#include "engine/structured/token_table.h"
#include "octavo/sampling_params.h"

namespace octavo {

// Compiles what a request asks for. Bounded; errors are InvalidArgument naming the place.
Result<Grammar> CompileStructuredOutput(const StructuredOutput& spec);

// Runs jobs in order on a thread of its own, which starts with the first job.
class MaskWorker {
 public:
  MaskWorker() = default;
  ~MaskWorker();
  MaskWorker(const MaskWorker&) = delete;
  MaskWorker& operator=(const MaskWorker&) = delete;

  void Run(std::function<void()> job);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::thread thread_;
};

// What a request's sequences share.
class ConstraintContext {
 public:
  // `table` and `worker` must outlive this. `end_tokens`: allowed when the text is complete.
  ConstraintContext(Grammar grammar, std::shared_ptr<const TokenTable> table, MaskWorker& worker,
                    std::vector<int32_t> end_tokens)
      : table_(std::move(table)),
        worker_(worker),
        end_tokens_(std::move(end_tokens)),
        automaton_(std::make_shared<const Grammar>(std::move(grammar))) {}

 private:
  friend class TokenConstraint;
  struct Place {
    std::shared_ptr<const TokenMask> mask;  // null: the automaton gave up
    bool complete_only = false;             // the text is complete and cannot go on
  };
  int32_t Walk(int32_t set, int32_t token);  // worker thread
  Place PlaceOf(int32_t set);                // worker thread

  std::shared_ptr<const TokenTable> table_;
  MaskWorker& worker_;
  std::vector<int32_t> end_tokens_;
  GrammarAutomaton automaton_;                 // worker thread only
  std::unordered_map<int32_t, Place> places_;  // by automaton set; worker thread only
};

class TokenConstraint {
 public:
  // At the start of the text.
  explicit TokenConstraint(std::shared_ptr<ConstraintContext> context);

  // The same place, going its own way from here.
  std::shared_ptr<TokenConstraint> Fork() const;

  // `token` has been appended. Returns at once.
  void Accept(int32_t token);

  enum class Verdict : uint8_t {
    kMask,        // tokens of the mask may follow
    kComplete,    // the text is complete and nothing but an end token may follow
    kTooComplex,  // the grammar's ambiguity or nesting went beyond the limits
  };
  struct Answer {
    Verdict verdict = Verdict::kMask;
    std::shared_ptr<const TokenMask> mask;
  };
  // What may come next; waits for the worker if need be.
  Answer Wait() const;

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    int pending = 0;  // jobs not done
    int32_t set = 0;
    Answer answer;
  };
  TokenConstraint() = default;
  void Schedule(std::function<int32_t(ConstraintContext&, int32_t set)> move);

  std::shared_ptr<ConstraintContext> context_;
  std::shared_ptr<State> state_;
};

}  // namespace octavo
