// SPDX-License-Identifier: Apache-2.0
// `octavo perplexity`: how well a model predicts a text (protocol: metrics/perplexity.h).
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/open_tokenizer.h"
#include "cli/progress_bar.h"
#include "cli/report.h"
#include "metrics/log_probs.h"
#include "metrics/perplexity.h"

namespace octavo {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = kPerplexityWindow;
  int64_t max_windows = 0;
  int64_t min_context = 1;
  std::string json;
};

Result<std::vector<int32_t>> ReadTokens(const PerplexityOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(options.model.model));
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.file));
  OCTAVO_ASSIGN_OR_RETURN(auto tokens, tokenizer->Encode(text, /*add_special_tokens=*/true));
  if (static_cast<int64_t>(tokens.size()) < options.window) {
    return InvalidArgument(fmt::format("{}: {} tokens, want at least one window of {} (--window)",
                                       options.file, tokens.size(), options.window));
  }
  return tokens;
}

// log p of every token of the window that has at least `min_context` tokens before it.
Status ScoreWindow(ScoringModel& model, std::span<const int32_t> tokens, int64_t min_context,
                   PerplexityMeter& meter) {
  const int64_t vocab_size = model.forcing->model().config().vocab_size;
  const auto total = static_cast<int64_t>(tokens.size());
  std::vector<double> log_probs(tokens.size());
  const auto score = [&](int64_t first, int64_t count, const float* logits) {
    model.pool->ParallelFor(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        if (first + row + 1 >= total) continue;
        const std::span<const float> of_row(logits + row * vocab_size,
                                            static_cast<size_t>(vocab_size));
        const auto next = static_cast<size_t>(first + row + 1);
        log_probs[next] = LogProb(of_row, tokens[next]);
      }
    });
    return Status::Ok();
  };
  OCTAVO_RETURN_IF_ERROR(model.forcing->Run(tokens, score));
  meter.BeginWindow();
  for (auto i = static_cast<size_t>(min_context); i < tokens.size(); ++i) meter.Add(log_probs[i]);
  return Status::Ok();
}

Status RunPerplexity(const PerplexityOptions& options) {
  if (options.min_context >= options.window) {
    return InvalidArgument(fmt::format("--min-context {} leaves nothing to score in windows of {} tokens",
                                       options.min_context, options.window));
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto tokens, ReadTokens(options));
  int64_t windows = static_cast<int64_t>(tokens.size()) / options.window;
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  OCTAVO_ASSIGN_OR_RETURN(ScoringModel model, LoadForScoring(options.model, options.window));

  const InterruptScope interrupt;
  PerplexityMeter meter;
  {
    ProgressBar bar({.label = "perplexity", .item_name = "tokens"});
    for (int64_t w = 0; w < windows; ++w) {
      OCTAVO_RETURN_IF_ERROR(interrupt.Check());
      const auto window = std::span(tokens).subspan(static_cast<size_t>(w * options.window),
                                                    static_cast<size_t>(options.window));
      OCTAVO_RETURN_IF_ERROR(ScoreWindow(model, window, options.min_context, meter));
      bar.Update(static_cast<uint64_t>((w + 1) * options.window),
                 static_cast<uint64_t>(windows * options.window));
    }
  }
  if (!JsonOnStdout(options.json)) {
    fmt::print("perplexity {:.4f}  ({} windows of {} tokens)\n", meter.perplexity(),
               meter.windows(), options.window);
  }
  return WriteJsonReport(options.json, {{"perplexity", meter.perplexity()},
                                        {"windows", meter.windows()},
                                        {"tokens", meter.tokens()},
                                        {"window", options.window},
                                        {"min_context", options.min_context},
                                        {"peak_rss_bytes", PeakRssBytes()}});
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<PerplexityOptions>();
  AddModelOptions(app, options->model);
  app.add_option("--file", options->file, "Text to predict (UTF-8)")->required()->type_name("TEXT");
  app.add_option("--max-windows", options->max_windows, "Stop after this many windows (default: all)")
      ->check(CLI::PositiveNumber);
  app.add_option("--window", options->window, "Tokens per window")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--min-context", options->min_context,
                 "Score only tokens with at least this many before them in their window; llama-perplexity's "
                 "figures need half a window and one (--window 512 --min-context 257)")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  AddJsonOption(app, options->json);
  return [options] { return RunPerplexity(*options); };
}

}  // namespace

extern const Command kCommand_perplexity_command = {
    "perplexity", CommandGroup::kMeasure, "Measure how well a model predicts a text", &Configure};

}  // namespace octavo
