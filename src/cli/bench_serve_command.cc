// SPDX-License-Identifier: Apache-2.0
// `octavo bench serve`: load on an OpenAI-compatible server, ours or another, with vLLM's result fields.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <limits>
#include <memory>

#include "cli/bench_serve_client.h"
#include "cli/bench_serve_data.h"
#include "cli/bench_serve_report.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct BenchServeOptions {
  std::string base_url = "http://127.0.0.1:8000";
  std::string api_key;
  BenchDataOptions data;
  BenchLoad load;
  int64_t num_warmups = 1;
  std::string json;
};

// The model's name and vocabulary, from the server where they were not given.
Status AskServer(const BenchTarget& target, BenchDataOptions& data) {
  if (data.model.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(const Json models, GetBenchJson(target, "/v1/models"));
    const Json* list = Find(models, "data");
    if (list == nullptr || !list->is_array() || list->empty()) {
      return DataLoss("/v1/models: no model listed (--model)");
    }
    OCTAVO_ASSIGN_OR_RETURN(data.model, GetString((*list)[0], "id"));
  }
  if (data.vocab_size == 0 && data.dataset != "file") {
    auto info = GetBenchJson(target, "/tokenizer_info");
    if (!info.ok()) {
      return InvalidArgument("this server does not tell its vocabulary; give --vocab-size");
    }
    OCTAVO_ASSIGN_OR_RETURN(data.vocab_size, GetInt(*info, "vocab_size", 2, 1 << 30));
  }
  return Status::Ok();
}

Status RunBenchServe(BenchServeOptions options) {
  auto target = ParseBenchUrl(options.base_url);
  if (!target.ok()) return UsageError(target.status().message());
  target->api_key = options.api_key;
  OCTAVO_RETURN_IF_ERROR(AskServer(*target, options.data));
  OCTAVO_ASSIGN_OR_RETURN(const auto bodies, MakeBenchBodies(options.data));

  const InterruptScope interrupt;
  const std::vector<std::string> warmups(static_cast<size_t>(options.num_warmups), bodies[0]);
  OCTAVO_ASSIGN_OR_RETURN(
      [[maybe_unused]] const BenchRun warmup,
      RunBenchLoad(*target, warmups, {}, [](size_t) {}, interrupt.flag()));
  ProgressBar progress({.label = "bench serve", .item_name = "requests"});
  const auto on_finished = [&](size_t done) { progress.Update(done, bodies.size()); };
  OCTAVO_ASSIGN_OR_RETURN(const BenchRun run, RunBenchLoad(*target, bodies, options.load, on_finished,
                                                           interrupt.flag()));
  progress.Finish();

  Json report = {{"date", fmt::format("{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr)))},
                 {"backend", "openai"},
                 {"model_id", options.data.model},
                 {"num_prompts", options.data.num_prompts},
                 {"max_concurrency", nullptr},
                 {"request_rate", "inf"}};
  if (options.load.max_concurrency > 0) report["max_concurrency"] = options.load.max_concurrency;
  if (options.load.request_rate < std::numeric_limits<double>::infinity()) {
    report["request_rate"] = options.load.request_rate;
  }
  report.update(BenchServeReport(run));
  if (!JsonOnStdout(options.json)) fmt::print("{}", FormatBenchServeReport(report));
  OCTAVO_RETURN_IF_ERROR(WriteJsonReport(options.json, report));
  if (report["completed"] == 0) {
    return IoError("no request succeeded: " + run.outcomes[0].error);
  }
  return Status::Ok();
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<BenchServeOptions>();
  BenchDataOptions& data = options->data;
  app.add_option("--base-url", options->base_url, "The server")->capture_default_str();
  app.add_option("--api-key", options->api_key, "Its key")->envname("OCTAVO_API_KEY");
  app.add_option("--model", data.model, "Default: the first of /v1/models");
  app.add_option("--dataset-name", data.dataset, "random, prefix_repetition or file")
      ->check(CLI::IsMember({"random", "prefix_repetition", "file"}))
      ->capture_default_str();
  app.add_option("--dataset-path", data.file, "For file: one prompt per line")
      ->check(CLI::ExistingFile);
  app.add_option("--num-prompts", data.num_prompts, "Requests")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--input-len,--random-input-len", data.input_len, "Prompt tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--output-len,--random-output-len", data.output_len, "Tokens to generate")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--range-ratio,--random-range-ratio", data.range_ratio,
                 "Spread of both lengths, 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--prefix-len", data.prefix_len, "prefix_repetition: tokens in common")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--num-prefixes", data.num_prefixes, "prefix_repetition: different beginnings")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--vocab-size", data.vocab_size, "Default: the server's /tokenizer_info");
  app.add_option("--temperature", data.temperature, "0 is greedy")->capture_default_str();
  app.add_flag("--ignore-eos,!--no-ignore-eos", data.ignore_eos, "Generate the full length (on)");
  app.add_option("--request-rate", options->load.request_rate, "Arrivals per second; default: at once")
      ->check(CLI::PositiveNumber);
  app.add_option("--max-concurrency", options->load.max_concurrency, "Requests at once; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--num-warmups", options->num_warmups, "Requests before the clock starts")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--seed", data.seed, "Of prompts and arrivals")->capture_default_str();
  AddJsonOption(app, options->json);
  return [options] {
    options->load.seed = options->data.seed;
    if (options->data.dataset == "file" && options->data.file.empty()) {
      return UsageError("--dataset-name file wants --dataset-path");
    }
    return RunBenchServe(*options);
  };
}

}  // namespace

extern const Command kCommand_bench_serve_command = {
    "bench serve", CommandGroup::kMeasure, "Measure a server under load: throughput and latencies",
    &Configure};

}  // namespace octavo
