// SPDX-License-Identifier: Apache-2.0
// Options of calibrated algorithms.
#include "cli/calibration_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/gguf_reader.h"
#include "models/gguf_vocabulary_reader.h"
#include "quantizers/calibration_algorithm.h"
#include "tokenizer/text_processor.h"

namespace octavo {
namespace {

Result<std::unique_ptr<TextProcessor>> OpenText(const std::string& model) {
  if (!model.ends_with(".gguf")) return TextProcessor::FromFolder(model);
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<GgufReader> gguf, GgufReader::Open(model));
  OCTAVO_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(*gguf));
  return TextProcessor::FromGguf(vocabulary);
}

}  // namespace

void AddCalibrationOptions(CLI::App& app, CalibrationCommandOptions& options,
                           QuantizeOptions& quantize) {
  CalibrationDataOptions& data = options.data;
  std::vector<std::string> names = {"rtn"};
  std::string summaries = "rtn: nearest code, no data";
  for (const CalibrationAlgorithm& algorithm : CalibrationAlgorithms()) {
    names.emplace_back(algorithm.name);
    summaries += fmt::format("; {}: {}", algorithm.name, algorithm.summary);
  }
  app.add_option("--algorithm", quantize.algorithm, "How codes are chosen. " + summaries)
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--kv-cache-scheme", quantize.kv_cache_scheme,
                 "fp8: also measure the scales of keys and values for an FP8 KV cache")
      ->check(CLI::IsMember({"fp8"}));
  app.add_option("--calibration-data", data.path,
                 "For all algorithms but rtn, and for static scales: JSON lines with \"messages\", \"text\" or \"token_ids\" "
                 "(.jsonl, .json), or "
                 "plain text; default: a built-in text")
      ->type_name("FILE");
  app.add_option("--num-calibration-samples", data.num_samples, "Lines, or windows of a plain text")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--max-seq-length", data.max_length, "Tokens per sample")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--smoothing-strength", quantize.smoothing_strength,
                 "SmoothQuant's alpha; default: 0.85 for Llama, 0.5 for OPT, else 0.8")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str("");
  app.add_option("--dampening-frac", quantize.damping,
                 "GPTQ: share of the mean of H's diagonal that is added to it")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  app.add_option("--token-norm-limit", quantize.token_norm_limit,
                 "gptq, awq, clipping: a token's inputs count up to this many times the median norm; 0: in full. 8 helps "
                 "models with strong attention sinks (SmolLM2)")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_flag("!--no-actorder", quantize.act_order, "GPTQ: round columns in their own order");
  app.add_option_function<std::vector<std::string>>(
         "--qoq-transforms",
         [&quantize](const std::vector<std::string>& names) {
           const Status status = SetQoqTransforms(names, quantize.qoq);
           if (!status.ok()) throw CLI::ValidationError("--qoq-transforms", status.message());
         },
         fmt::format("qoq: what to apply, comma-separated: all, none, or some of {}",
                     fmt::join(QoqTransformNames(), ", ")))
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("--smooth-attention-strength", quantize.qoq.smooth_attention_strength,
                 "qoq: share of the keys' outliers that moves into the queries")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--smooth-output-strength", quantize.qoq.smooth_output_strength,
                 "qoq: share of the outliers of down_proj's inputs that moves into its weights; "
                 "default: 0.15 with groups, 0.05 per channel")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str("");
  app.add_option("--memory-limit", options.memory_limit_gib,
                 "GiB to aim at, by more passes over the samples: a quarter of it goes to Gram "
                 "matrices; default: 2 GiB for those")
      ->check(CLI::PositiveNumber);
}

Status LoadCalibration(const CalibrationCommandOptions& options, QuantizeOptions& quantize) {
  quantize.memory_limit = static_cast<uint64_t>(options.memory_limit_gib * 0x1p30);
  OCTAVO_ASSIGN_OR_RETURN(const auto text, OpenText(quantize.model));
  OCTAVO_ASSIGN_OR_RETURN(CalibrationData data, LoadCalibrationData(options.data, *text));
  fmt::print(stderr, "calibration: {} samples, {} tokens, {}\n", data.samples.size(),
             data.num_tokens, data.source);
  quantize.calibration = std::make_shared<const CalibrationData>(std::move(data));
  return Status::Ok();
}

}  // namespace octavo
