// SPDX-License-Identifier: Apache-2.0
// `octavo generate`: continues a text, or answers it with --chat.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/generation.h"
#include "cli/report.h"
#include "cli/token_ids.h"

namespace octavo {
namespace {

struct GenerateOptions {
  GenerationOptions generation{.max_tokens = 128};
  std::string prompt;
  std::string prompt_ids;
  bool chat = false;
  bool ignore_eos = false;
  std::string json;
};

// The prompt's token ids, whichever way it was given.
Result<std::vector<int32_t>> PromptTokens(const LlmEngine& engine, const GenerateOptions& options) {
  if (!options.prompt_ids.empty()) return ParseTokenIds(options.prompt_ids);
  std::string text = options.prompt;
  if (text == "-") {
    OCTAVO_ASSIGN_OR_RETURN(text, ReadStandardInput());
  }
  if (!options.chat) return engine.Encode(text, /*add_special_tokens=*/true);
  ChatRequest chat;
  chat.messages_json = DumpJson(Json::array({{{"role", "user"}, {"content", text}}}));
  OCTAVO_ASSIGN_OR_RETURN(const std::string rendered, engine.RenderChat(chat));
  return engine.Encode(rendered, /*add_special_tokens=*/false);
}

Status CheckUsage(const GenerateOptions& options) {
  const bool text = !options.prompt.empty();
  const bool ids = !options.prompt_ids.empty();
  if (text == ids) return UsageError("want exactly one of --prompt and --prompt-ids");
  if (ids && options.chat) return UsageError("--chat needs a text: use --prompt");
  if (!ids) return Status::Ok();
  const auto parsed = ParseTokenIds(options.prompt_ids);
  return parsed.ok() ? Status::Ok() : UsageError("--prompt-ids: " + parsed.status().message());
}

Json ToJson(const std::vector<int32_t>& prompt, const Answer& answer) {
  return {{"prompt_token_ids", prompt},
          {"token_ids", answer.token_ids},
          {"text", answer.text},
          {"prefill_tok_s", answer.prefill_tok_s()},
          {"decode_tok_s", answer.decode_tok_s()},
          {"ttft_ms", answer.timings.first_token_s * 1000},
          {"peak_rss_bytes", PeakRssBytes()}};
}

Status RunGenerate(const GenerateOptions& options) {
  OCTAVO_RETURN_IF_ERROR(CheckUsage(options));
  OCTAVO_ASSIGN_OR_RETURN(const auto engine, CreateEngine(options.generation));
  OCTAVO_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, PromptTokens(*engine, options));

  GenerationRequest request;
  request.prompt_token_ids = prompt;
  request.params = MakeSamplingParams(options.generation);
  request.params.ignore_eos = options.ignore_eos;
  const bool quiet = JsonOnStdout(options.json);
  const InterruptScope interrupt;
  OCTAVO_ASSIGN_OR_RETURN(
      const Answer answer,
      RunRequest(*engine, std::move(request), interrupt, [quiet](std::string_view text) {
        if (quiet) return;
        fmt::print("{}", text);
        std::fflush(stdout);
      }));
  if (!quiet) OCTAVO_RETURN_IF_ERROR(WriteStandardOutput("\n"));
  fmt::print(stderr, "{}\n", Summary(answer));
  OCTAVO_RETURN_IF_ERROR(WriteJsonReport(options.json, ToJson(prompt, answer)));
  return interrupt.Check();
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<GenerateOptions>();
  AddGenerationOptions(app, options->generation);
  app.add_option("-p,--prompt", options->prompt, "Text to continue; - reads standard input")
      ->type_name("TEXT");
  app.add_option("--prompt-ids", options->prompt_ids, "Token ids to continue: 1,2,3")
      ->type_name("IDS");
  app.add_flag("--chat", options->chat, "Answer the prompt through the model's chat template");
  app.add_flag("--ignore-eos", options->ignore_eos, "Go on after end-of-sequence tokens");
  AddJsonOption(app, options->json);
  return [options] { return RunGenerate(*options); };
}

}  // namespace

extern const Command kCommand_generate_command = {
    "generate", CommandGroup::kRun, "Continue a text, or answer it with --chat", &Configure};

}  // namespace octavo
