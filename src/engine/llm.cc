// SPDX-License-Identifier: Apache-2.0
// Offline batches: submit, collect, return in order.
#include "octavo/llm.h"

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <mutex>
#include <utility>

namespace octavo {
namespace {

template <typename T>
void Append(std::vector<T>& to, std::vector<T> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void AddDelta(CompletionDelta delta, CompletionOutput& choice) {
  choice.index = delta.index;
  choice.text += delta.text;
  Append(choice.token_ids, std::move(delta.token_ids));
  Append(choice.logprobs, std::move(delta.logprobs));
  choice.cumulative_logprob = delta.cumulative_logprob;
  if (!delta.finish_reason) return;
  choice.finish_reason = *delta.finish_reason;
  choice.stop_token_id = delta.stop_token_id;
  choice.stop_string = std::move(delta.stop_string);
}

// What the submitting thread and the output thread share.
struct Batch {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<OutputCollector> collectors;
  size_t num_finished = 0;
};

}  // namespace

bool OutputCollector::Add(RequestOutput output) {
  for (CompletionDelta& delta : output.choices) {
    const auto index = static_cast<size_t>(delta.index);
    if (result_.choices.size() <= index) result_.choices.resize(index + 1);
    AddDelta(std::move(delta), result_.choices[index]);
  }
  if (!output.prompt_logprobs.empty()) result_.prompt_logprobs = std::move(output.prompt_logprobs);
  if (!output.embedding.empty()) result_.embedding = std::move(output.embedding);
  result_.usage = output.usage;
  result_.timings = output.timings;
  if (output.finished) result_.status = std::move(output.status);
  return output.finished;
}

Result<std::unique_ptr<LLM>> LLM::Create(const EngineOptions& options,
                                         std::function<void(const LoadProgress&)> progress) {
  OCTAVO_ASSIGN_OR_RETURN(auto engine, LlmEngine::Create(options, std::move(progress)));
  return std::unique_ptr<LLM>(new LLM(std::move(engine)));
}

std::vector<GenerationResult> LLM::Generate(std::vector<GenerationRequest> requests,
                                            const std::function<void(size_t)>& on_finished) {
  // Keeps the engine's queue from overflowing, whatever the size of the batch.
  const EngineOptions& options = engine_->options();
  const size_t window =
      static_cast<size_t>(options.max_num_seqs) + static_cast<size_t>(options.max_num_queued_reqs);
  const size_t count = requests.size();
  std::vector<GenerationResult> results(count);
  std::vector<Status> refused(count);
  Batch batch;
  batch.collectors.resize(count);
  const auto finish_one = [&] {
    const std::scoped_lock lock(batch.mutex);
    ++batch.num_finished;
    if (on_finished) on_finished(batch.num_finished);
    batch.changed.notify_all();
  };
  for (size_t i = 0; i < count; ++i) {
    {
      std::unique_lock lock(batch.mutex);
      batch.changed.wait(lock, [&] { return i - batch.num_finished < window; });
    }
    auto id = engine_->Submit(std::move(requests[i]), [&, i](RequestOutput output) {
      if (batch.collectors[i].Add(std::move(output))) finish_one();
    });
    if (!id.ok()) {
      refused[i] = std::move(id).status();
      finish_one();
    }
  }
  std::unique_lock lock(batch.mutex);
  batch.changed.wait(lock, [&] { return batch.num_finished == count; });
  for (size_t i = 0; i < count; ++i) {
    results[i] = std::move(batch.collectors[i]).Take();
    if (!refused[i].ok()) results[i].status = std::move(refused[i]);
  }
  return results;
}

std::vector<GenerationResult> LLM::Generate(std::span<const std::string> prompts,
                                            const SamplingParams& params) {
  std::vector<GenerationRequest> requests(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    requests[i].prompt = prompts[i];
    requests[i].params = params;
  }
  return Generate(std::move(requests));
}

}  // namespace octavo
