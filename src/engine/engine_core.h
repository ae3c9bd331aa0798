// SPDX-License-Identifier: Apache-2.0
// The engine without threads and texts: requests in, steps, token updates out.
//
//   Step: Scheduler plans -> copy-on-write -> Executor::Forward -> RowSampler -> bookkeeping,
//   report
//
// Single-threaded; LlmEngine runs it on the step thread, tests call Step() themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/beam_search.h"
#include "engine/block_manager.h"
#include "engine/embedding_pooler.h"
#include "engine/executor.h"
#include "engine/prompt_lookup.h"
#include "engine/row_sampler.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/step_clock.h"
#include "engine/step_report.h"

namespace octavo {

struct EngineCoreOptions {
  SchedulerOptions scheduler;
  BlockManagerOptions blocks;
  PromptLookupOptions lookup;
  std::vector<int32_t> end_tokens;
  double target_step_ms = 0;
  bool check_integrity = false;
};

class EngineCore {
 public:
  // `executor` must outlive the core.
  EngineCore(const EngineCoreOptions& options, const BlockHasher& hasher, Executor& executor);

  // Queues a request. It has been validated: its longest sequence fits into the pool alone.
  void Add(std::shared_ptr<const EngineRequest> request);

  // Ends all open choices; the next report says so. No effect on unknown requests.
  void Abort(RequestId id);

  // The same for every request, with a reason; `status` goes with kError.
  void AbortAll(FinishReason reason, const Status& status);

  // Ends one choice without a word: the caller has seen its end (a stop string) already.
  void StopChoice(RequestId id, int32_t index);

  bool HasWork() const;

  // One step; a report without choices is normal. An error is a broken model or a bug: the core is
  // useless afterwards.
  Status Step(StepReport& report);

  void ResetPrefixCache() { blocks_.ResetPrefixCache(); }
  Status CheckIntegrity() const;

  const BlockManager& blocks() const { return blocks_; }
  const Scheduler& scheduler() const { return scheduler_; }
  size_t num_requests() const { return groups_.size(); }
  size_t logits_bytes() const { return sampler_.bytes(); }

 private:
  // A request and its sequences.
  struct Group {
    std::shared_ptr<const EngineRequest> request;
    std::vector<std::unique_ptr<Sequence>> sequences;  // unfinished ones; beams in beam order
    std::vector<bool> done;                            // [n], by choice
    std::vector<PositionScores> prompt_scores;         // [num_prompt - 1] when asked for
    bool started = false;
    std::unique_ptr<BeamSearch> beam;
    std::unique_ptr<EmbeddingPooler> pooler;
  };

  void AbortGroup(Group& group, FinishReason reason, const Status& status);
  Sequence& NewSequence(Group& group);
  void BuildBatch(const StepPlan& plan);
  void MakeTasks(const StepPlan& plan);
  void MakeScoreTasks(Sequence& sequence, int64_t first_row, int64_t num_tokens);
  void Apply(const ScheduledSequence& scheduled, int64_t first_row, std::span<RowTask> tasks,
             StepReport& report);
  void Pool(Group& group, const Sequence& sequence, int64_t first_row, int64_t num_tokens);
  void StorePromptScores(Group& group, int64_t num_computed, std::span<RowTask> tasks) const;
  void FinishPrompt(Group& group, Sequence& sequence, StepReport& report);
  void AcceptTokens(Group& group, Sequence& sequence, std::span<Sample> samples,
                    StepReport& report);
  static FinishReason WithoutToken(TokenConstraint::Verdict verdict, ChoiceUpdate& update);
  void ForkChoices(Group& group, Sequence& first, std::span<Sample> samples, StepReport& report);
  Sequence& Fork(Group& group, const Sequence& parent);
  std::unique_ptr<Sequence> CloneOf(const Sequence& parent);
  std::optional<FinishReason> AppendToken(Sequence& sequence, Sample& sample, ChoiceUpdate& update);
  void AdvanceBeams(Group& group, StepReport& report);
  void FinishBeams(Group& group, StepReport& report);
  void FinishSequence(Group& group, Sequence& sequence);
  void EraseIfDone(RequestId id);
  void Propose(Sequence& sequence);

  EngineCoreOptions options_;
  BlockManager blocks_;
  Scheduler scheduler_;
  Executor& executor_;
  RowSampler sampler_;
  StepClock clock_;
  std::unordered_map<RequestId, Group> groups_;
  std::vector<ChoiceUpdate> pending_;  // aborts since the last step
  uint64_t next_serial_ = 0;

  // Of the current step.
  ForwardBatch batch_;
  std::vector<RowTask> tasks_;
  std::vector<size_t> task_end_;  // [scheduled sequence]: end of its tasks
  TokenConstraint::Verdict verdict_ = TokenConstraint::Verdict::kMask;  // of the task being applied
};

}  // namespace octavo
