// SPDX-License-Identifier: Apache-2.0
// Compiling, the worker, and places.
#include "engine/structured/token_constraint.h"

#include <algorithm>
#include <utility>

#include "engine/structured/gbnf_grammar.h"
#include "engine/structured/json_schema_grammar.h"
#include "engine/structured/regex_grammar.h"

namespace octavo {
namespace {

constexpr size_t kMaxSpecBytes = size_t{256} << 10;
constexpr size_t kMaxChoices = 10'000;

Result<int32_t> RootRule(const StructuredOutput& spec, GrammarBuilder& builder) {
  using Kind = StructuredOutput::Kind;
  const JsonGrammarOptions json_options{spec.compact_whitespace};
  switch (spec.kind) {
    case Kind::kJsonObject:
      return AddJsonSchema(Json{{"type", "object"}}, json_options, builder);
    case Kind::kJsonSchema: {
      auto schema = ParseJson(spec.spec, {.max_bytes = kMaxSpecBytes});
      if (!schema.ok()) return std::move(schema).status().WithContext("JSON schema");
      return AddJsonSchema(*schema, json_options, builder);
    }
    case Kind::kRegex: {
      OCTAVO_ASSIGN_OR_RETURN(const auto expr, ParseRegex(spec.spec, builder));
      const int32_t rule = builder.NewRule();
      builder.Define(rule, expr);
      return rule;
    }
    case Kind::kChoice: {
      std::vector<GrammarBuilder::Expr> options;
      for (const std::string& choice : spec.choices) options.push_back(builder.Literal(choice));
      const int32_t rule = builder.NewRule();
      builder.Define(rule, builder.Choice(std::move(options)));
      return rule;
    }
    case Kind::kGrammar:
      return ParseGbnf(spec.spec, builder);
    case Kind::kNone:
      break;
  }
  return Internal("structured output: nothing to compile");
}

}  // namespace

Result<Grammar> CompileStructuredOutput(const StructuredOutput& spec) {
  size_t bytes = spec.spec.size();
  for (const std::string& choice : spec.choices) bytes += choice.size();
  if (bytes > kMaxSpecBytes || spec.choices.size() > kMaxChoices) {
    return InvalidArgument("structured output: larger than 256 KiB or 10000 choices");
  }
  if (spec.kind == StructuredOutput::Kind::kChoice && spec.choices.empty()) {
    return InvalidArgument("structured output: no choices");
  }
  GrammarBuilder builder;
  OCTAVO_ASSIGN_OR_RETURN(const int32_t root, RootRule(spec, builder));
  return builder.Build(root);
}

MaskWorker::~MaskWorker() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void MaskWorker::Run(std::function<void()> job) {
  {
    const std::scoped_lock lock(mutex_);
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  }
  ready_.notify_one();
}

void MaskWorker::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    ready_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

int32_t ConstraintContext::Walk(int32_t set, int32_t token) {
  for (const char c : table_->BytesOf(token)) {  // end tokens have no bytes: the place stays
    if (set < 0) return set;
    set = automaton_.Next(set, static_cast<uint8_t>(c));
  }
  return set;
}

ConstraintContext::Place ConstraintContext::PlaceOf(int32_t set) {
  if (set < 0) return {};
  if (const auto it = places_.find(set); it != places_.end()) return it->second;
  Place place;
  auto mask = std::make_shared<TokenMask>();
  if (table_->Allowed(automaton_, set, *mask)) {
    if (automaton_.Accepts(set)) {
      place.complete_only =
          std::all_of(mask->begin(), mask->end(), [](uint64_t w) { return w == 0; });
      for (const int32_t token : end_tokens_) {
        (*mask)[static_cast<size_t>(token) / 64] |= uint64_t{1} << (token % 64);
      }
    }
    place.mask = std::move(mask);
  }
  places_.emplace(set, place);
  return place;
}

TokenConstraint::TokenConstraint(std::shared_ptr<ConstraintContext> context)
    : context_(std::move(context)), state_(std::make_shared<State>()) {
  state_->set = context_->automaton_.start();
  Schedule([](ConstraintContext&, int32_t set) { return set; });
}

std::shared_ptr<TokenConstraint> TokenConstraint::Fork() const {
  Wait();
  std::shared_ptr<TokenConstraint> copy(new TokenConstraint());
  copy->context_ = context_;
  copy->state_ = std::make_shared<State>();
  const std::scoped_lock lock(state_->mutex);
  copy->state_->set = state_->set;
  copy->state_->answer = state_->answer;
  return copy;
}

void TokenConstraint::Accept(int32_t token) {
  Schedule([token](ConstraintContext& context, int32_t set) { return context.Walk(set, token); });
}

// Jobs own what they touch: the sequence may be gone before they run.
void TokenConstraint::Schedule(std::function<int32_t(ConstraintContext&, int32_t)> move) {
  {
    const std::scoped_lock lock(state_->mutex);
    ++state_->pending;
  }
  context_->worker_.Run([context = context_, state = state_, move = std::move(move)] {
    const int32_t set = move(*context, state->set);
    const ConstraintContext::Place place = context->PlaceOf(set);
    const std::scoped_lock lock(state->mutex);
    state->set = set;
    state->answer = {place.mask == nullptr ? Verdict::kTooComplex
                     : place.complete_only ? Verdict::kComplete
                                           : Verdict::kMask,
                     place.mask};
    --state->pending;
    state->changed.notify_all();
  });
}

TokenConstraint::Answer TokenConstraint::Wait() const {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->pending == 0; });
  return state_->answer;
}

}  // namespace octavo
