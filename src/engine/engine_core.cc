// SPDX-License-Identifier: Apache-2.0
// Requests, batches and what becomes of a step's results.
#include "engine/engine_core.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace octavo {
namespace {

// Rows of logits held at once: enough to load the output projection's weights rarely.
constexpr int64_t kLogitRows = 64;

bool WantsPromptScores(const EngineRequest& request) {
  return request.params.prompt_logprobs.has_value();
}

}  // namespace

EngineCore::EngineCore(const EngineCoreOptions& options, const BlockHasher& hasher,
                       Executor& executor)
    : options_(options),
      blocks_(options.blocks, hasher),
      scheduler_(options.scheduler, blocks_),
      executor_(executor),
      sampler_(executor, options.end_tokens,
               std::max<int64_t>(kLogitRows, options.lookup.num_tokens + 1)),
      clock_(options.target_step_ms, options.scheduler.max_num_batched_tokens) {}

void EngineCore::Add(std::shared_ptr<const EngineRequest> request) {
  const SamplingParams& params = request->params;
  Group& group = groups_[request->id];
  group.request = std::move(request);
  group.done.resize(static_cast<size_t>(params.n));
  if (params.use_beam_search) {
    group.beam = std::make_unique<BeamSearch>(params.n, params.length_penalty,
                                              static_cast<int64_t>(group.request->prompt.size()),
                                              group.request->max_tokens);
  }
  if (WantsPromptScores(*group.request)) {
    group.prompt_scores.resize(group.request->prompt.size() - 1);
  }
  if (group.request->pooling != Pooling::kNone) {
    group.pooler = std::make_unique<EmbeddingPooler>(group.request->pooling,
                                                     group.request->normalize_embedding,
                                                     static_cast<size_t>(executor_.hidden_size()));
  }
  scheduler_.Add(NewSequence(group));
}

Sequence& EngineCore::NewSequence(Group& group) {
  auto sequence = std::make_unique<Sequence>();
  sequence->request = group.request;
  sequence->arrival = group.request->id;
  sequence->serial = next_serial_++;
  sequence->tokens = group.request->prompt;
  sequence->num_seats = group.request->params.n;
  sequence->skip_prefix_cache =
      WantsPromptScores(*group.request) || (group.pooler && !group.pooler->last_only());
  sequence->blocks = blocks_.NewSequence(group.request->cache_salt);
  if (group.request->constraint != nullptr) {
    sequence->constraint = std::make_shared<TokenConstraint>(group.request->constraint);
  }
  sequence->history = TokenHistory::FromPrompt(sequence->tokens, group.request->params);
  return *group.sequences.emplace_back(std::move(sequence));
}

void EngineCore::Abort(RequestId id) {
  const auto it = groups_.find(id);
  if (it == groups_.end()) return;
  AbortGroup(it->second, FinishReason::kAbort, {});
  groups_.erase(it);
}

void EngineCore::AbortAll(FinishReason reason, const Status& status) {
  for (auto& [id, group] : groups_) AbortGroup(group, reason, status);
  groups_.clear();
}

void EngineCore::AbortGroup(Group& group, FinishReason reason, const Status& status) {
  for (auto& sequence : group.sequences) scheduler_.Remove(*sequence);
  for (size_t i = 0; i < group.done.size(); ++i) {
    if (group.done[i]) continue;
    ChoiceUpdate update;
    update.request_id = group.request->id;
    update.index = static_cast<int32_t>(i);
    update.finish_reason = reason;
    update.status = status;
    pending_.push_back(std::move(update));
  }
}

void EngineCore::StopChoice(RequestId id, int32_t index) {
  const auto it = groups_.find(id);
  if (it == groups_.end()) return;
  for (auto& sequence : it->second.sequences) {
    if (sequence->index != index) continue;
    FinishSequence(it->second, *sequence);
    EraseIfDone(id);
    return;
  }
}

bool EngineCore::HasWork() const { return !pending_.empty() || scheduler_.HasReadyWork(); }

Status EngineCore::CheckIntegrity() const {
  std::vector<const SequenceBlocks*> live;
  for (const auto& [id, group] : groups_) {
    for (const auto& sequence : group.sequences) live.push_back(&sequence->blocks);
  }
  return blocks_.CheckIntegrity(live);
}

Status EngineCore::Step(StepReport& report) {
  using Clock = std::chrono::steady_clock;
  report.begin = Clock::now();
  report.choices = std::exchange(pending_, {});
  const StepPlan& plan = scheduler_.Schedule(clock_.TokenBudget(scheduler_.Demand()));
  report.num_preempted = plan.num_preempted;
  report.num_tokens = plan.num_tokens;
  if (!plan.empty()) {
    for (const BlockCopy& copy : plan.copies) executor_.CopyBlock(copy.from, copy.to);
    BuildBatch(plan);
    OCTAVO_RETURN_IF_ERROR(executor_.Forward(batch_));
    MakeTasks(plan);
    sampler_.Run(tasks_);
    report.num_running = static_cast<int64_t>(plan.sequences.size());
    report.prefix_queries = plan.prefix_queries;
    report.prefix_hits = plan.prefix_hits;
    report.end = Clock::now();
    size_t begin = 0;
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      Apply(plan.sequences[i], batch_.sequences[0][i].row_begin,
            std::span(tasks_).subspan(begin, task_end_[i] - begin), report);
      begin = task_end_[i];
    }
    const std::chrono::duration<double, std::milli> elapsed = report.end - report.begin;
    clock_.Observe(plan.num_tokens, elapsed.count());
  }
  report.end = Clock::now();
  return options_.check_integrity ? CheckIntegrity() : Status::Ok();
}

// Flattens the plan; block tables are referenced, not copied, and stay as they are until Apply.
void EngineCore::BuildBatch(const StepPlan& plan) {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.sequences.resize(static_cast<size_t>(blocks_.num_groups()));
  for (auto& group : batch_.sequences) group.clear();
  for (const ScheduledSequence& scheduled : plan.sequences) {
    const Sequence& s = *scheduled.sequence;
    const int64_t row = batch_.num_tokens();
    for (int64_t i = s.num_computed; i < s.num_computed + scheduled.num_tokens; ++i) {
      const bool draft = i >= s.num_tokens();
      batch_.tokens.push_back(draft ? s.drafts[static_cast<size_t>(i - s.num_tokens())]
                                    : s.tokens[static_cast<size_t>(i)]);
      batch_.positions.push_back(static_cast<int32_t>(i));
    }
    for (size_t g = 0; g < batch_.sequences.size(); ++g) {
      batch_.sequences[g].push_back(
          {row, scheduled.num_tokens, s.num_computed, s.blocks.tables[g].data()});
    }
  }
}

// One row before each prompt token whose probability is wanted.
void EngineCore::MakeScoreTasks(Sequence& sequence, int64_t first_row, int64_t num_tokens) {
  const EngineRequest& request = *sequence.request;
  for (int64_t i = 0; i < num_tokens; ++i) {
    const int64_t next = sequence.num_computed + i + 1;
    if (next >= sequence.num_prompt()) return;
    RowTask task;
    task.kind = RowTask::Kind::kScore;
    task.sequence = &sequence;
    task.first_row = first_row + i;
    task.token = request.prompt[static_cast<size_t>(next)];
    task.num_top = *request.params.prompt_logprobs;
    tasks_.push_back(std::move(task));
  }
}

void EngineCore::MakeTasks(const StepPlan& plan) {
  tasks_.clear();
  task_end_.clear();
  int64_t row = 0;
  for (const ScheduledSequence& scheduled : plan.sequences) {
    Sequence& s = *scheduled.sequence;
    const EngineRequest& request = *s.request;
    if (s.skip_prefix_cache && WantsPromptScores(request))
      MakeScoreTasks(s, row, scheduled.num_tokens);
    row += scheduled.num_tokens;
    const bool complete = s.num_computed + scheduled.num_tokens == s.num_tokens() + s.num_drafts();
    if (complete && request.max_tokens > 0 && request.pooling == Pooling::kNone) {
      RowTask task;
      task.sequence = &s;
      task.num_rows = 1 + s.num_drafts();
      task.first_row = row - task.num_rows;
      task.num_choices = s.num_output() == 0 ? s.num_seats : 1;
      if (request.params.use_beam_search) {
        task.kind = RowTask::Kind::kTop;
        task.num_choices = 1;
        task.num_top = 2 * request.params.n;
      }
      tasks_.push_back(std::move(task));
    }
    task_end_.push_back(tasks_.size());
  }
}

void EngineCore::StorePromptScores(Group& group, int64_t num_computed,
                                   std::span<RowTask> tasks) const {
  auto position = static_cast<size_t>(num_computed);
  for (RowTask& task : tasks) {
    if (task.kind == RowTask::Kind::kScore) {
      group.prompt_scores[position++] = std::move(task.scores);
    }
  }
}

// Feeds the rows that count; the last one is the prompt's last only when the prompt is through.
void EngineCore::Pool(Group& group, const Sequence& sequence, int64_t first_row,
                      int64_t num_tokens) {
  if (sequence.num_computed == 0) group.pooler->Restart();
  std::vector<float> hidden(static_cast<size_t>(executor_.hidden_size()));
  for (int64_t i = 0; i < num_tokens; ++i) {
    const bool last = sequence.num_computed + i + 1 == sequence.num_prompt();
    if (group.pooler->last_only() && !last) continue;
    executor_.FinalHidden(first_row + i, hidden.data());
    group.pooler->Add(hidden);
  }
}

void EngineCore::Apply(const ScheduledSequence& scheduled, int64_t first_row,
                       std::span<RowTask> tasks, StepReport& report) {
  Sequence& s = *scheduled.sequence;
  const RequestId id = s.request->id;
  Group& group = groups_.at(id);
  if (!group.started) {
    group.started = true;
    report.prompts.push_back({id, true, scheduled.num_cached, {}, {}});
  }
  StorePromptScores(group, s.num_computed, tasks);
  if (group.pooler != nullptr) Pool(group, s, first_row, scheduled.num_tokens);
  const int64_t known = std::min(scheduled.num_tokens, s.num_pending());
  if (s.num_output() == 0) report.num_prompt_tokens += known;
  s.num_computed += known;
  if (s.num_pending() > 0) {
    blocks_.Commit(s.blocks, s.tokens, s.num_computed);
    return;
  }
  if (!tasks.empty()) verdict_ = tasks.back().verdict;
  const bool prompt_done = s.num_output() == 0;
  if (prompt_done) FinishPrompt(group, s, report);
  if (group.request->max_tokens == 0) {
    blocks_.Commit(s.blocks, s.tokens, s.num_computed);
    for (int32_t i = 0; i < group.request->params.n; ++i) {
      report.choices.push_back({id, i, {}, {}, FinishReason::kLength, {}, {}, {}});
    }
    FinishSequence(group, s);
  } else if (group.beam != nullptr) {
    blocks_.Commit(s.blocks, s.tokens, s.num_computed);
    s.candidates = std::move(tasks.back().top);
    AdvanceBeams(group, report);
  } else if (prompt_done && s.num_seats > 1) {
    blocks_.Commit(s.blocks, s.tokens, s.num_computed);
    ForkChoices(group, s, tasks.back().samples, report);
  } else {
    AcceptTokens(group, s, tasks.back().samples, report);
  }
  EraseIfDone(id);
}

void EngineCore::FinishPrompt(Group& group, Sequence& sequence, StepReport& report) {
  sequence.skip_prefix_cache = false;
  PromptUpdate update;
  update.request_id = group.request->id;
  update.scores = std::exchange(group.prompt_scores, {});
  if (group.pooler != nullptr) update.embedding = group.pooler->Finish();
  if (!update.scores.empty() || !update.embedding.empty()) {
    report.prompts.push_back(std::move(update));
  }
}

// Why nothing could be drawn.
FinishReason EngineCore::WithoutToken(TokenConstraint::Verdict verdict, ChoiceUpdate& update) {
  if (verdict == TokenConstraint::Verdict::kComplete) return FinishReason::kStop;
  update.status =
      verdict == TokenConstraint::Verdict::kTooComplex
          ? InvalidArgument("structured output: nesting or ambiguity beyond the limits")
          : InvalidArgument("no token is allowed here: every logit is masked or not finite");
  return FinishReason::kError;
}

// Appends one drawn token to sequence and update; the reason if it ends the choice.
std::optional<FinishReason> EngineCore::AppendToken(Sequence& sequence, Sample& sample,
                                                    ChoiceUpdate& update) {
  const EngineRequest& request = *sequence.request;
  if (sample.token < 0) return WithoutToken(verdict_, update);
  sequence.tokens.push_back(sample.token);
  sequence.history.Add(sample.token);
  if (sequence.constraint != nullptr) sequence.constraint->Accept(sample.token);
  update.tokens.push_back(sample.token);
  if (sample.scores) update.scores.push_back(*std::move(sample.scores));
  if (sequence.num_output() > request.params.min_tokens || request.params.min_tokens == 0) {
    const auto& ids = request.params.stop_token_ids;
    if (std::find(ids.begin(), ids.end(), sample.token) != ids.end()) {
      update.stop_token_id = sample.token;
    }
    if (sampler_.IsEnd(request, sample.token)) return FinishReason::kStop;
  }
  if (sequence.num_output() >= request.max_tokens) return FinishReason::kLength;
  return std::nullopt;
}

// `samples`: the drafts that came true and the token after them.
void EngineCore::AcceptTokens(Group& group, Sequence& sequence, std::span<Sample> samples,
                              StepReport& report) {
  ChoiceUpdate update;
  update.request_id = group.request->id;
  update.index = sequence.index;
  report.num_drafts += sequence.num_drafts();
  const int64_t accepted = static_cast<int64_t>(samples.size()) - 1;
  report.num_accepted_drafts += accepted;
  sequence.pacer.Observe(sequence.num_drafts(), accepted);
  sequence.drafts.clear();
  for (Sample& sample : samples) {
    update.finish_reason = AppendToken(sequence, sample, update);
    if (update.finish_reason) break;
  }
  report.num_generated += static_cast<int64_t>(update.tokens.size());
  sequence.num_computed += accepted;
  const int64_t committed = std::min(sequence.num_computed, sequence.num_tokens());
  blocks_.Commit(sequence.blocks, sequence.tokens, committed);
  const bool finished = update.finish_reason.has_value();
  report.choices.push_back(std::move(update));
  if (finished) {
    FinishSequence(group, sequence);
  } else {
    Propose(sequence);
  }
}

void EngineCore::Propose(Sequence& sequence) {
  // A draft would need the masks of tokens that may never come.
  if (options_.lookup.num_tokens <= 0 || sequence.constraint != nullptr) return;
  const int64_t room = sequence.request->max_tokens - sequence.num_output() - 1;
  const int64_t count = std::min(room, sequence.pacer.NextCount(options_.lookup.num_tokens));
  sequence.drafts = ProposeByPromptLookup(sequence.tokens, options_.lookup, count);
}

// The prompt is computed once; from here every choice goes its own way over shared pages.
void EngineCore::ForkChoices(Group& group, Sequence& first, std::span<Sample> samples,
                             StepReport& report) {
  std::vector<Sequence*> choices = {&first};
  scheduler_.ReleaseSeats(first, first.num_seats - 1);
  for (size_t i = 1; i < samples.size(); ++i) {
    choices.push_back(&Fork(group, first));
    choices.back()->index = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    AcceptTokens(group, *choices[i], samples.subspan(i, 1), report);
  }
}

std::unique_ptr<Sequence> EngineCore::CloneOf(const Sequence& parent) {
  auto child = std::make_unique<Sequence>(parent);
  child->serial = next_serial_++;
  child->num_seats = 1;
  child->drafts.clear();
  child->candidates.clear();
  if (parent.constraint != nullptr) child->constraint = parent.constraint->Fork();
  if (parent.state == SequenceState::kRunning) {
    child->blocks = blocks_.Fork(parent.blocks);
    scheduler_.AddForked(*child);
  }
  return child;
}

Sequence& EngineCore::Fork(Group& group, const Sequence& parent) {
  return *group.sequences.emplace_back(CloneOf(parent));
}

void EngineCore::AdvanceBeams(Group& group, StepReport& report) {
  std::vector<std::vector<PositionScores::Entry>> candidates;
  for (const auto& sequence : group.sequences) {
    if (sequence->candidates.empty()) return;  // not all beams have come this far
    candidates.push_back(sequence->candidates);
  }
  const auto is_end = [&](int32_t token) { return sampler_.IsEnd(*group.request, token); };
  const auto extensions = group.beam->Advance(candidates, is_end);
  report.num_generated += static_cast<int64_t>(extensions.size());
  if (extensions.empty()) return FinishBeams(group, report);

  std::vector<int> children(group.sequences.size());
  for (const auto& extension : extensions) ++children[static_cast<size_t>(extension.parent)];
  Sequence& root = *group.sequences.front();
  scheduler_.ReleaseSeats(root, root.num_seats - 1);
  for (size_t i = 0; i < children.size(); ++i) {
    if (children[i] == 0) scheduler_.Remove(*group.sequences[i]);
  }
  // The last child takes over its parent's object, the others share its pages.
  std::vector<std::unique_ptr<Sequence>> next;
  for (const auto& extension : extensions) {
    const auto parent = static_cast<size_t>(extension.parent);
    next.push_back(--children[parent] == 0 ? std::move(group.sequences[parent])
                                           : CloneOf(*group.sequences[parent]));
  }
  group.sequences = std::move(next);
  for (size_t i = 0; i < extensions.size(); ++i) {
    Sequence& beam = *group.sequences[i];
    beam.tokens.push_back(extensions[i].token);
    beam.candidates.clear();
    if (beam.state == SequenceState::kParked) scheduler_.Add(beam);
  }
}

void EngineCore::FinishBeams(Group& group, StepReport& report) {
  int32_t index = 0;
  for (BeamHypothesis& hypothesis : std::move(*group.beam).Finish()) {
    ChoiceUpdate update;
    update.request_id = group.request->id;
    update.index = index++;
    update.tokens = std::move(hypothesis.output);
    update.cumulative_logprob = hypothesis.cumulative_logprob;
    update.finish_reason = hypothesis.ended ? FinishReason::kStop : FinishReason::kLength;
    report.choices.push_back(std::move(update));
  }
  for (auto& sequence : group.sequences) scheduler_.Remove(*sequence);
  group.sequences.clear();
}

void EngineCore::FinishSequence(Group& group, Sequence& sequence) {
  group.done[static_cast<size_t>(sequence.index)] = true;
  scheduler_.Remove(sequence);
  std::erase_if(group.sequences, [&](const auto& other) { return other.get() == &sequence; });
}

void EngineCore::EraseIfDone(RequestId id) {
  const auto it = groups_.find(id);
  if (it != groups_.end() && it->second.sequences.empty()) groups_.erase(it);
}

}  // namespace octavo
