// SPDX-License-Identifier: Apache-2.0
// The scheduling step.
#include "engine/scheduler.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace octavo {
namespace {

bool IsDecode(const Sequence& s) { return s.num_pending() == 1 && s.num_output() > 0; }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, BlockManager& blocks)
    : options_(options),
      blocks_(blocks),
      waiting_(Order{options.policy}),
      running_(Order{options.policy}) {}

void Scheduler::Add(Sequence& sequence) {
  sequence.state = SequenceState::kWaiting;
  waiting_.insert(&sequence);
}

void Scheduler::AddForked(Sequence& sequence) {
  sequence.state = SequenceState::kRunning;
  running_.insert(&sequence);
  seats_ += sequence.num_seats;
}

void Scheduler::Remove(Sequence& sequence) {
  if (sequence.state == SequenceState::kRunning) {
    blocks_.Free(sequence.blocks);
    running_.erase(&sequence);
    seats_ -= sequence.num_seats;
  } else if (sequence.state == SequenceState::kWaiting) {
    waiting_.erase(&sequence);
  }
  sequence.state = SequenceState::kFinished;
}

void Scheduler::ReleaseSeats(Sequence& sequence, int32_t count) {
  sequence.num_seats -= count;
  if (sequence.state == SequenceState::kRunning) seats_ -= count;
}

void Scheduler::Preempt(Sequence& sequence, bool park) {
  OCTAVO_DCHECK(sequence.state == SequenceState::kRunning);
  blocks_.Free(sequence.blocks);
  running_.erase(&sequence);
  seats_ -= sequence.num_seats;
  sequence.num_computed = 0;
  sequence.drafts.clear();
  ++plan_.num_preempted;
  if (park) {
    sequence.state = SequenceState::kParked;
  } else {
    Add(sequence);
  }
}

bool Scheduler::HasReadyWork() const {
  if (FirstReadyWaiting() != nullptr) return true;
  return std::any_of(running_.begin(), running_.end(),
                     [](const Sequence* s) { return s->ready && s->num_pending() > 0; });
}

Sequence* Scheduler::FirstReadyWaiting() const {
  for (Sequence* sequence : waiting_) {
    if (sequence->ready) return sequence;
  }
  return nullptr;
}

int64_t Scheduler::NumDecodes() const {
  return std::ranges::count_if(running_, [](const Sequence* sequence) {
    return sequence->ready && IsDecode(*sequence);
  });
}

void Scheduler::Reset(int64_t token_budget) {
  plan_ = {};
  budget_ = options_.max_num_batched_tokens;
  prefill_budget_ = std::clamp<int64_t>(token_budget, 1, budget_);
  reserved_ = NumDecodes();
}

StepDemand Scheduler::Demand() const {
  StepDemand demand{.num_decodes = NumDecodes()};
  const auto count = [&demand](const Sequence& sequence) {
    ++demand.num_prompts;
    demand.prefill_tokens += sequence.num_pending();
  };
  for (const Sequence* sequence : running_) {
    if (sequence->ready && !IsDecode(*sequence)) count(*sequence);
  }
  const int64_t enough = StepClock::kBacklogSteps * options_.max_num_batched_tokens;
  int64_t seats = seats_;
  for (const Sequence* sequence : waiting_) {
    if (!sequence->ready) continue;
    seats += sequence->num_seats;
    if (seats > options_.max_num_seqs || demand.prefill_tokens >= enough) break;
    count(*sequence);
  }
  return demand;
}

const StepPlan& Scheduler::Schedule(int64_t token_budget) {
  Reset(token_budget);
  if (options_.policy == SchedulingPolicy::kPriority) MakeRoomForPriority();
  do {
    ScheduleRunning();
    if (plan_.num_preempted == 0 || plan_.empty()) ScheduleWaiting();
  } while (plan_.empty() && PreemptIdle());
  return plan_;
}

// Nothing could run: sequences that wait for others (beams) may hold the pages the others need.
bool Scheduler::PreemptIdle() {
  if (FirstReadyWaiting() == nullptr || running_.empty()) return false;
  Sequence& last = **running_.rbegin();
  Preempt(last, last.num_pending() == 0);
  return true;
}

// A waiting request of smaller priority number takes the place of running ones of a larger one.
void Scheduler::MakeRoomForPriority() {
  const Sequence* head = FirstReadyWaiting();
  if (head == nullptr) return;
  const auto fits = [&] {
    return seats_ + head->num_seats <= options_.max_num_seqs &&
           blocks_.MaxBlocksOf(head->num_tokens(), options_.max_num_batched_tokens) <=
               blocks_.num_free();
  };
  while (!running_.empty() && !fits()) {
    Sequence& last = **running_.rbegin();
    if (last.request->priority <= head->request->priority) return;
    if (last.ready && IsDecode(last)) --reserved_;
    Preempt(last, last.num_pending() == 0);
  }
}

int64_t Scheduler::Chunk(int64_t pending) const {
  int64_t count = std::min({pending, prefill_budget_, budget_ - reserved_});
  if (options_.long_prefill_token_threshold > 0) {
    count = std::min(count, options_.long_prefill_token_threshold);
  }
  return count;
}

void Scheduler::ScheduleRunning() {
  // Preemption takes sequences from the back only, so `next` stays valid until it is reached.
  for (auto it = running_.begin(); it != running_.end() && budget_ > 0;) {
    Sequence& sequence = **it;
    if (!sequence.ready || sequence.num_pending() == 0) {
      ++it;
      continue;
    }
    const bool decode = IsDecode(sequence);
    if (decode) --reserved_;
    if (!ScheduleOne(sequence, decode)) return;  // it preempted itself: it was the last
    it = std::next(running_.find(&sequence));
  }
}

// False when the sequence had to give up its own pages.
bool Scheduler::ScheduleOne(Sequence& sequence, bool decode) {
  int64_t count = 0;
  if (decode) {
    const int64_t drafts = std::min(sequence.num_drafts(), budget_ - reserved_ - 1);
    sequence.drafts.resize(static_cast<size_t>(std::max<int64_t>(drafts, 0)));
    count = 1 + sequence.num_drafts();
  } else {
    sequence.drafts.clear();
    count = Chunk(sequence.num_pending());
  }
  if (count <= 0) return true;
  if (!AllocateOrPreempt(sequence, count)) return false;
  plan_.sequences.push_back({&sequence, count, false, 0});
  plan_.num_tokens += count;
  budget_ -= count;
  if (!decode) prefill_budget_ -= count;
  return true;
}

// Drafts are given up before anyone is preempted for them.
bool Scheduler::AllocateOrPreempt(Sequence& sequence, int64_t& count) {
  while (!blocks_.Allocate(sequence.blocks, sequence.num_computed, count, plan_.copies)) {
    if (!sequence.drafts.empty()) {
      sequence.drafts.clear();
      count = 1;
      continue;
    }
    Sequence& last = **running_.rbegin();
    if (last.ready && IsDecode(last) && &last != &sequence) --reserved_;
    Preempt(last, last.num_pending() == 0);
    if (&last == &sequence) return false;
  }
  return true;
}

void Scheduler::ScheduleWaiting() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Sequence& sequence = **it;
    ++it;
    if (!sequence.ready) continue;
    if (std::min(prefill_budget_, budget_) <= 0) return;
    if (seats_ + sequence.num_seats > options_.max_num_seqs) return;
    if (!Admit(sequence)) return;  // head of line: whoever came later does not overtake
  }
}

// A sequence is admitted when all it has to compute now fits, not only its first chunk: half a
// prompt that is preempted again was computed for nothing.
bool Scheduler::Admit(Sequence& sequence) {
  const int64_t total = sequence.num_tokens();
  const int64_t cached =
      sequence.skip_prefix_cache ? 0 : blocks_.AcquirePrefix(sequence.blocks, sequence.tokens);
  const int64_t count = Chunk(total - cached);
  const int64_t held = static_cast<int64_t>(cached / blocks_.block_size());
  const int64_t missing =
      blocks_.MaxBlocksOf(total, options_.max_num_batched_tokens) - held * blocks_.num_groups();
  const bool fits = running_.empty() || missing <= blocks_.num_free();
  if (count <= 0 || !fits || !blocks_.Allocate(sequence.blocks, cached, count, plan_.copies)) {
    blocks_.Free(sequence.blocks);
    return false;
  }
  waiting_.erase(&sequence);
  sequence.state = SequenceState::kRunning;
  sequence.num_computed = cached;
  running_.insert(&sequence);
  seats_ += sequence.num_seats;
  if (!sequence.skip_prefix_cache) {
    plan_.prefix_queries += total;
    plan_.prefix_hits += cached;
  }
  plan_.sequences.push_back({&sequence, count, true, cached});
  plan_.num_tokens += count;
  budget_ -= count;
  prefill_budget_ -= count;
  return true;
}

}  // namespace octavo
