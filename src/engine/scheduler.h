// SPDX-License-Identifier: Apache-2.0
// Decides what each step computes: vLLM V1's policy of one token budget for prefill and decode.
//
// There are no phases. Every sequence has computed tokens that chase its total; a step advances as
// many sequences as the budget allows: decodes always (one token and its drafts), prompts in chunks
// of what is left. When pages run out, the sequence that is served last loses all of its pages and
// returns to the queue, where its age puts it in front; it is recomputed later ("preempt by
// recompute"). The sequence served first can always run, because the pool holds at least one
// sequence of the maximum length: so there is always progress.
//
// Single-threaded: the step thread owns it. Does not own sequences.
// Source: Orca (OSDI 2022) for iteration-level scheduling, Sarathi-Serve (arXiv:2403.02310) for
// chunked prefill, vLLM V1 for the order of decisions.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"
#include "engine/step_clock.h"

namespace octavo {

struct SchedulerOptions {
  int32_t max_num_seqs = 128;
  int64_t max_num_batched_tokens = 2048;
  int64_t long_prefill_token_threshold = 0;
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
};

struct ScheduledSequence {
  Sequence* sequence = nullptr;
  int64_t num_tokens = 0;   // of them the last sequence->num_drafts() are drafts
  bool first_time = false;  // left the queue in this step
  int64_t num_cached = 0;   // tokens found in the prefix cache, when first_time
};

struct StepPlan {
  std::vector<ScheduledSequence> sequences;
  std::vector<BlockCopy> copies;  // to be done in this order before the forward pass
  int64_t num_tokens = 0;
  int32_t num_preempted = 0;
  // Prefix cache look-ups, in tokens.
  int64_t prefix_queries = 0;
  int64_t prefix_hits = 0;

  bool empty() const { return sequences.empty(); }
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockManager& blocks);

  // A new or parked sequence enters the queue.
  void Add(Sequence& sequence);

  // A fork of a running sequence (whose pages it shares already) starts to run. `seat_taken`: its
  // seat was reserved by Sequence::num_seats.
  void AddForked(Sequence& sequence);

  // The sequence is finished: gives back its pages and leaves queue or run.
  void Remove(Sequence& sequence);

  // A reserved seat will not be used.
  void ReleaseSeats(Sequence& sequence, int32_t count);

  // Takes the pages of a running sequence. `park`: it does not return to the queue by itself.
  void Preempt(Sequence& sequence, bool park);

  // What could be computed, for the budget of the next step. Waiting prompts count as far as there are
  // seats for them, and no further than StepClock::kBacklogSteps full steps.
  StepDemand Demand() const;

  // The next step. `token_budget` <= max_num_batched_tokens limits prefill chunks; decodes count
  // against max_num_batched_tokens only. The plan is valid until the next call.
  const StepPlan& Schedule(int64_t token_budget);

  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  bool HasReadyWork() const;

 private:
  struct Order {
    SchedulingPolicy policy;
    bool operator()(const Sequence* a, const Sequence* b) const {
      return ServiceKey(*a, policy) < ServiceKey(*b, policy);
    }
  };
  using Ordered = std::set<Sequence*, Order>;

  // Running sequences that get their next token in this step.
  int64_t NumDecodes() const;
  void Reset(int64_t token_budget);
  void MakeRoomForPriority();
  void ScheduleRunning();
  void ScheduleWaiting();
  bool ScheduleOne(Sequence& sequence, bool decode);
  bool AllocateOrPreempt(Sequence& sequence, int64_t& count);
  bool Admit(Sequence& sequence);
  int64_t Chunk(int64_t pending) const;
  bool PreemptIdle();
  Sequence* FirstReadyWaiting() const;

  SchedulerOptions options_;
  BlockManager& blocks_;
  Ordered waiting_;
  Ordered running_;
  int64_t seats_ = 0;

  StepPlan plan_;
  int64_t budget_ = 0;          // tokens left under the hard cap
  int64_t prefill_budget_ = 0;  // tokens left for prefill chunks
  int64_t reserved_ = 0;        // of budget_, for decodes that come later in this step
};

}  // namespace octavo
