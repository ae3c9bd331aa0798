// SPDX-License-Identifier: Apache-2.0
// Offline generation with the public API: several prompts at once, then one streamed.
//
//   generate MODEL ["prompt" ...]
#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include "octavo/llm.h"

namespace {

int Fail(const octavo::Status& status) {
  std::fprintf(stderr, "generate: %s\n", status.ToString().c_str());
  return 1;
}

// A batch: every prompt is answered at the same speed as one alone, almost.
int GenerateBatch(octavo::LLM& llm, const std::vector<std::string>& prompts) {
  octavo::SamplingParams params;
  params.temperature = 0;
  params.max_tokens = 48;
  const auto results = llm.Generate(prompts, params);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].status.ok()) return Fail(results[i].status);
    std::printf("--- %s%s\n", prompts[i].c_str(), results[i].choices[0].text.c_str());
  }
  return 0;
}

// A stream: text appears as it is generated. The callback runs on the engine's output thread.
int Stream(octavo::LlmEngine& engine, const std::string& prompt) {
  octavo::GenerationRequest request;
  request.prompt = prompt;
  request.params.temperature = 0.8;
  request.params.top_p = 0.95;
  request.params.seed = 42;
  request.params.max_tokens = 48;
  std::promise<octavo::Status> done;
  const auto id = engine.Submit(std::move(request), [&done](octavo::RequestOutput output) {
    for (const auto& delta : output.choices) std::fputs(delta.text.c_str(), stdout);
    std::fflush(stdout);
    if (output.finished) done.set_value(output.status);
  });
  if (!id.ok()) return Fail(id.status());
  std::printf("--- streamed: %s", prompt.c_str());
  const octavo::Status status = done.get_future().get();
  std::printf("\n");
  return status.ok() ? 0 : Fail(status);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: generate MODEL [\"prompt\" ...]\n");
    return 2;
  }
  octavo::EngineOptions options;
  options.model = argv[1];
  options.max_num_seqs = 16;
  auto llm = octavo::LLM::Create(options);
  if (!llm.ok()) return Fail(llm.status());
  std::vector<std::string> prompts(argv + 2, argv + argc);
  if (prompts.empty()) prompts = {"Once upon a time", "The little dog"};
  if (const int code = GenerateBatch(**llm, prompts); code != 0) return code;
  return Stream((*llm)->engine(), prompts.front());
}
