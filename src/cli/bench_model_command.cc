// SPDX-License-Identifier: Apache-2.0
// `octavo bench model`: prefill and decode speed of a model alone, as llama-bench measures it, beside
// the limits of the machine measured in the same process.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <vector>

#include "cli/command.h"
#include "cli/hub_model.h"
#include "cli/model_options.h"
#include "cli/report.h"
#include "kernels/roofline.h"
#include "models/load_model.h"
#include "models/model_runner.h"

namespace octavo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBlockSize = 32;

struct BenchOptions {
  ModelOptions model;
  std::vector<int> batches = {1};
  int prompt_len = 512;
  int gen_len = 64;
  int repetitions = 3;
  int step_tokens = 512;
  std::string output = "md";
  std::string json;
};

struct BenchRow {
  int batch = 0;
  double prefill_tok_s = 0;
  double decode_tok_s = 0;
};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Sequences of pseudo-random tokens in their own blocks; what they say does not change the speed.
class BatchDriver {
 public:
  BatchDriver(ModelRunner& runner, int batch, int max_len)
      : runner_(runner), batch_(batch), blocks_per_sequence_((max_len + kBlockSize - 1) / kBlockSize),
        tables_(static_cast<size_t>(batch) * static_cast<size_t>(blocks_per_sequence_)),
        logits_(static_cast<size_t>(batch) *
                static_cast<size_t>(runner.model().config().vocab_size)) {
    std::iota(tables_.begin(), tables_.end(), 0);
  }

  // Computes every prompt in steps of `step_tokens`, one sequence after the other, with the logits of
  // each prompt's last token.
  Status Prefill(int prompt_len, int step_tokens) {
    for (int sequence = 0; sequence < batch_; ++sequence) {
      for (int begin = 0; begin < prompt_len; begin += step_tokens) {
        const int count = std::min(step_tokens, prompt_len - begin);
        ForwardBatch batch = Start();
        Append(batch, sequence, begin, count);
        OCTAVO_RETURN_IF_ERROR(runner_.Forward(batch));
        if (begin + count == prompt_len) ReadLogits({count - 1});
      }
    }
    return Status::Ok();
  }

  // One decode step: a token of each sequence at `position`.
  Status Decode(int position) {
    ForwardBatch batch = Start();
    std::vector<int64_t> rows;
    for (int sequence = 0; sequence < batch_; ++sequence) {
      rows.push_back(sequence);
      Append(batch, sequence, position, 1);
    }
    OCTAVO_RETURN_IF_ERROR(runner_.Forward(batch));
    ReadLogits(rows);
    return Status::Ok();
  }

 private:
  ForwardBatch Start() const {
    ForwardBatch batch;
    batch.sequences.resize(runner_.kv().groups().size());
    return batch;
  }

  void Append(ForwardBatch& batch, int sequence, int position, int count) {
    const SequenceSlice slice{.row_begin = batch.num_tokens(),
                              .num_tokens = count,
                              .position = position,
                              .block_table = &tables_[static_cast<size_t>(sequence) *
                                                      static_cast<size_t>(blocks_per_sequence_)]};
    for (auto& group : batch.sequences) group.push_back(slice);
    for (int i = 0; i < count; ++i) {
      random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
      const auto vocab = static_cast<uint64_t>(runner_.model().config().vocab_size);
      batch.tokens.push_back(static_cast<int32_t>((random_ >> 33) % vocab));
      batch.positions.push_back(position + i);
    }
  }

  void ReadLogits(const std::vector<int64_t>& rows) { runner_.Logits(rows, logits_.data()); }

  ModelRunner& runner_;
  int batch_;
  int blocks_per_sequence_;
  std::vector<int32_t> tables_;
  std::vector<float> logits_;
  uint64_t random_ = 1;
};

Result<BenchRow> RunBatch(const std::shared_ptr<const Model>& model, const BenchOptions& options,
                          int batch, IsaLevel isa, ThreadPool& pool) {
  const int max_len = options.prompt_len + options.gen_len;
  const RunnerOptions runner_options{
      .kv_dtype = ChooseKvDType(options.model.kv_cache_dtype, options.model.dtype),
      .block_size = kBlockSize,
      .num_blocks = int64_t{batch} * ((max_len + kBlockSize - 1) / kBlockSize),
      .max_step_tokens = std::max(options.step_tokens, batch)};
  OCTAVO_ASSIGN_OR_RETURN(auto runner, ModelRunner::Create(model, runner_options, isa, pool));
  BatchDriver driver(*runner, batch, max_len);
  OCTAVO_RETURN_IF_ERROR(driver.Prefill(std::min(options.prompt_len, 32), options.step_tokens));
  std::vector<double> prefill, decode;
  for (int i = 0; i < options.repetitions; ++i) {
    auto start = Clock::now();
    OCTAVO_RETURN_IF_ERROR(driver.Prefill(options.prompt_len, options.step_tokens));
    prefill.push_back(SecondsSince(start));
    start = Clock::now();
    for (int t = 0; t < options.gen_len; ++t) {
      OCTAVO_RETURN_IF_ERROR(driver.Decode(options.prompt_len + t));
    }
    decode.push_back(SecondsSince(start));
  }
  return BenchRow{.batch = batch,
                  .prefill_tok_s = batch * options.prompt_len / Median(prefill),
                  .decode_tok_s = batch * options.gen_len / Median(decode)};
}

// Multiply-adds per token and bytes read per decode step, from the packed weights.
struct Work {
  double ops_per_prefill_token = 0;
  double bytes_per_step = 0;
};

Work WorkOf(const Model& model) {
  Work work;
  const std::vector<const Linear*> linears = model.linears();
  for (const Linear* linear : linears) {
    work.bytes_per_step += static_cast<double>(linear->packed_bytes());
    // Prefill computes the head for one token of the prompt only: it does not count.
    if (linear != linears.back()) {
      work.ops_per_prefill_token +=
          2.0 * static_cast<double>(linear->n()) * static_cast<double>(linear->k());
    }
  }
  return work;
}

// Bytes of keys and values that one decode step of one sequence reads, at the middle of generation.
double KvBytes(const Model& model, const BenchOptions& options) {
  const double element =
      KvBits(ChooseKvDType(options.model.kv_cache_dtype, options.model.dtype)) / 8.0;
  double per_token = 0;
  for (const KvLayerSpec& layer : model.kv_layers()) {
    per_token += 2.0 * layer.num_kv_heads * layer.head_dim * element;
  }
  return per_token * (options.prompt_len + options.gen_len / 2.0);
}

// 0 where there is no limit to compare with: portable loops have none.
double PercentOf(double limit, double value) { return limit > 0 ? 100 * value / limit : 0; }

Json ToJson(const BenchRow& row, const Model& model, const BenchOptions& options,
            const Roofline& roofline) {
  const Work work = WorkOf(model);
  const double gops = row.prefill_tok_s * work.ops_per_prefill_token * 1e-9;
  const double steps_s = row.decode_tok_s / row.batch;
  const double gb_s =
      steps_s * (work.bytes_per_step + row.batch * KvBytes(model, options)) * 1e-9;
  return {{"batch", row.batch},
          {"prompt_len", options.prompt_len},
          {"gen_len", options.gen_len},
          {"prefill_tok_s", row.prefill_tok_s},
          {"decode_tok_s", row.decode_tok_s},
          {"gb_s", gb_s},
          {"gops", gops},
          {"pct_int8_peak", PercentOf(roofline.BestInt8(), gops)},
          {"pct_bf16_peak", PercentOf(roofline.BestBf16(), gops)},
          {"pct_dram", PercentOf(roofline.dram_gb_s, gb_s)},
          {"peak_rss_bytes", PeakRssBytes()}};
}

std::string Markdown(const Json& report) {
  const Json& m = report["machine"];
  std::string text = fmt::format(
      "{}, {} threads, {}; measured limits of this level: int8 {:.0f} GOPS, bf16 {:.0f} GFLOPS, DRAM {:.1f} GB/s\n\n"
      "| batch | prompt | gen | prefill tok/s | decode tok/s | GB/s | % DRAM | GOPS | % int8 | % bf16 |\n"
      "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
      m["cpu"].get<std::string>(), m["threads"].get<int>(), m["isa"].get<std::string>(),
      m["int8_gops"].get<double>(), m["bf16_gflops"].get<double>(), m["dram_gb_s"].get<double>());
  for (const Json& r : report["results"]) {
    text += fmt::format("| {} | {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n",
                        r["batch"].get<int>(), r["prompt_len"].get<int>(), r["gen_len"].get<int>(),
                        r["prefill_tok_s"].get<double>(), r["decode_tok_s"].get<double>(),
                        r["gb_s"].get<double>(), r["pct_dram"].get<double>(),
                        r["gops"].get<double>(), r["pct_int8_peak"].get<double>(),
                        r["pct_bf16_peak"].get<double>());
  }
  return text;
}

Status RunBench(const BenchOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model.model));
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  ThreadPool pool(options.model.threads);
  const Roofline roofline = MeasureRoofline(pool, isa);
  LoadOptions load;
  load.dtype = options.model.dtype == "float32" ? ComputeDType::kFloat32 : ComputeDType::kBfloat16;
  load.quantization = options.model.quantization;
  load.lm_head_dtype = options.model.lm_head_dtype;
  load.gguf_activations = options.model.gguf_activations;
  const auto start = Clock::now();
  OCTAVO_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                          LoadModel(path, load, isa, pool));
  const double load_s = SecondsSince(start);
  Json report = {{"machine",
                  {{"cpu", CpuModelName()},
                   {"isa", NameOf(isa)},
                   {"threads", pool.num_threads()},
                   {"int8_gops", roofline.BestInt8()},
                   {"bf16_gflops", roofline.BestBf16()},
                   {"dram_gb_s", roofline.dram_gb_s}}},
                 {"model", options.model.model},
                 {"load_s", load_s},
                 {"kernels", Json::array()},
                 {"results", Json::array()}};
  for (const Linear* linear : model->linears()) {
    for (const LinearPart& part : linear->parts()) {
      const Json entry = fmt::format("{} {}", part.scheme, part.kernel);
      if (std::find(report["kernels"].begin(), report["kernels"].end(), entry) ==
          report["kernels"].end()) {
        report["kernels"].push_back(entry);
      }
    }
  }
  for (const int batch : options.batches) {
    OCTAVO_ASSIGN_OR_RETURN(const BenchRow row, RunBatch(model, options, batch, isa, pool));
    report["results"].push_back(ToJson(row, *model, options, roofline));
  }
  if (!JsonOnStdout(options.json)) {
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(
        options.output == "json" ? DumpJson(report, 2) + "\n" : Markdown(report)));
  }
  return WriteJsonReport(options.json, report);
}

CommandAction ConfigureBenchModel(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  AddModelOptions(app, options->model);
  app.add_option("-p,--prompt-len", options->prompt_len, "Tokens per prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("-n,--gen-len", options->gen_len, "Tokens to generate")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("-b,--batch", options->batches, "Sequences at once, several with commas")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("-r,--repetitions", options->repetitions, "Runs; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--max-num-batched-tokens", options->step_tokens, "Tokens per prefill step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("-o,--output", options->output, "What to print: md or json")
      ->check(CLI::IsMember({"md", "json"}))
      ->capture_default_str();
  AddJsonOption(app, options->json);
  return [options] { return RunBench(*options); };
}

}  // namespace

extern const Command kCommand_bench_model_command = {
    "bench model", CommandGroup::kMeasure, "Prefill and decode speed of a model against the machine's limits",
    &ConfigureBenchModel};

}  // namespace octavo
