// SPDX-License-Identifier: Apache-2.0
// Builds the JSON document from a comparison.
#include "quality/quality_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <vector>

#include "base/digest.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWorstTokens = 20;
constexpr int64_t kContextTokens = 24;
constexpr int64_t kMapColumns = 96;  // of an activation map; channels in between share a column
constexpr size_t kTopChannels = 5;

// JSON has no NaN; null says that a figure is not known.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

// Enough for plots, and short.
Json Rounded(double value) {
  return std::isfinite(value) ? Json(std::stod(fmt::format("{:.4g}", value))) : Json();
}

Json ToJson(const Estimate& estimate) {
  return {{"value", Number(estimate.value)}, {"standard_error", Number(estimate.standard_error)}};
}

Json ModelJson(const ModelSide& side, const std::vector<LinearQuality>& linears, bool reference) {
  const Checkpoint& checkpoint = *side.checkpoint;
  uint64_t bytes = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) bytes += tensor.bytes;
  double weights = 0;
  double bits = 0;
  for (const LinearQuality& linear : linears) {
    const double count = static_cast<double>(linear.n) * static_cast<double>(linear.k);
    weights += count;
    bits += count * (reference ? linear.reference_bits : linear.bits);
  }
  return {{"path", checkpoint.path()},
          {"quantization", side.load.quantization.empty() ? Json() : Json(side.load.quantization)},
          {"bytes", bytes},
          {"bits_per_weight", weights == 0 ? Json() : Json(bits / weights)}};
}

Json DivergenceJson(const ModelComparison& comparison, const ComparisonSummary& summary) {
  const Histogram histogram = KlHistogram(comparison.tokens);
  return {{"positions", summary.positions},
          {"non_finite", summary.non_finite},
          {"mean_kl", ToJson(summary.mean_kl)},
          {"median_kl", ToJson(summary.median_kl)},
          {"p99_kl", ToJson(summary.p99_kl)},
          {"max_kl", Number(summary.max_kl)},
          {"top1_agreement", ToJson(summary.top1_agreement)},
          {"histogram", {{"edges", histogram.edges}, {"counts", histogram.counts}}}};
}

Json PerplexityJson(const ComparisonSummary& summary) {
  return {{"reference", ToJson(summary.reference_perplexity)},
          {"other", ToJson(summary.other_perplexity)},
          {"delta", ToJson(summary.perplexity_delta)},
          {"increase_percent", ToJson(summary.perplexity_percent)}};
}

Json WorstTokensJson(const EvaluationText& text, const ModelComparison& comparison,
                     const Tokenizer& tokenizer) {
  const auto decode = [&](std::span<const int32_t> ids) {
    return tokenizer.Decode(ids, /*skip_special_tokens=*/false);
  };
  Json rows = Json::array();
  for (const int64_t index : WorstTokens(comparison.tokens, kWorstTokens)) {
    const TokenComparison& token = comparison.tokens[static_cast<size_t>(index)];
    const int64_t window = index / (text.window - 1);
    const int64_t position = index % (text.window - 1);
    const int64_t at = window * text.window + position;  // the last token of the context
    const int64_t begin = std::max(window * text.window, at + 1 - kContextTokens);
    const auto context = std::span(text.tokens)
                             .subspan(static_cast<size_t>(begin), static_cast<size_t>(at + 1 - begin));
    rows.push_back({{"kl", Number(token.kl)},
                    {"window", window},
                    {"position", position},
                    {"context", decode(context)},
                    {"next", decode({&text.tokens[static_cast<size_t>(at + 1)], 1})},
                    {"reference_says", decode({&token.reference_top, 1})},
                    {"reference_probability", Number(std::exp(token.reference_top_log_prob))},
                    {"other_says", decode({&token.other_top, 1})},
                    {"other_probability", Number(std::exp(token.other_top_log_prob))}});
  }
  return rows;
}

Json LinearsJson(const std::vector<LinearQuality>& linears) {
  Json rows = Json::array();
  for (const LinearQuality& linear : linears) {
    rows.push_back({{"module", linear.module},
                    {"scheme", linear.scheme},
                    {"shape", {linear.n, linear.k}},
                    {"bits_per_weight", linear.bits},
                    {"transformed", linear.transformed},
                    {"relative_error", Number(linear.weight.relative)},
                    {"cosine", Number(linear.weight.cosine)},
                    {"max_abs_error", Number(linear.weight.max_abs)},
                    {"output_error", Number(linear.output_error)}});
  }
  return rows;
}

// max_abs in at most kMapColumns columns, each the largest of its channels.
Json MapRow(const ChannelStats& stats) {
  const auto channels = std::ssize(stats.max_abs());
  const int64_t columns = std::min<int64_t>(kMapColumns, channels);
  Json row = Json::array();
  for (int64_t i = 0; i < columns; ++i) {
    const auto cut = stats.max_abs().subspan(
        static_cast<size_t>(i * channels / columns),
        static_cast<size_t>((i + 1) * channels / columns - i * channels / columns));
    row.push_back(Rounded(static_cast<double>(*std::max_element(cut.begin(), cut.end()))));
  }
  return row;
}

Json TopChannels(const ChannelStats& stats) {
  std::vector<size_t> order(stats.max_abs().size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t count = std::min(kTopChannels, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(count), order.end(),
                    [&](size_t a, size_t b) { return stats.max_abs()[a] > stats.max_abs()[b]; });
  Json rows = Json::array();
  for (size_t i = 0; i < count; ++i) {
    rows.push_back({{"channel", order[i]},
                    {"max_abs", Rounded(static_cast<double>(stats.max_abs()[order[i]]))}});
  }
  return rows;
}

Json InputsJson(const std::vector<InputStats>& inputs) {
  Json rows = Json::array();
  for (const InputStats& input : inputs) {
    rows.push_back({{"slot", input.slot},
                    {"layer", input.layer},
                    {"channels", input.reference.max_abs().size()},
                    {"rows", input.reference.rows()},
                    {"spread", Rounded(input.reference.spread())},
                    {"other_spread", Rounded(input.other.spread())},
                    {"top_channels", TopChannels(input.reference)},
                    {"max_abs", MapRow(input.reference)},
                    {"other_max_abs", MapRow(input.other)}});
  }
  return rows;
}

}  // namespace

Json MakeQualityReport(const CompareInput& input, const EvaluationText& text,
                       const ModelComparison& comparison, const Tokenizer& tokenizer) {
  const ComparisonSummary summary = Summarize(comparison.tokens);
  Json layers = Json::array();
  for (const LayerQuality& layer : comparison.layers) {
    layers.push_back({{"own_error", Number(layer.own_error)},
                      {"total_error", Number(layer.total_error)}});
  }
  return {{"format", "octavo quality report 1"},
          {"octavo", OCTAVO_VERSION},
          {"reference", ModelJson(input.reference, comparison.linears, true)},
          {"other", ModelJson(input.other, comparison.linears, false)},
          {"dtype", input.reference.load.dtype == ComputeDType::kFloat32 ? "float32" : "bfloat16"},
          {"text",
           {{"name", text.name},
            {"sha256", text.sha256},
            {"windows", text.windows()},
            {"window", text.window}}},
          {"divergence", DivergenceJson(comparison, summary)},
          {"perplexity", PerplexityJson(summary)},
          {"worst_tokens", WorstTokensJson(text, comparison, tokenizer)},
          {"layers", layers},
          {"linears", LinearsJson(comparison.linears)},
          {"inputs", InputsJson(comparison.inputs)}};
}

Status AddFiles(const std::string& folder, Json& report) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file(error) || name == "octavo_resume.json") continue;
    if (!name.starts_with(kReportName)) paths.push_back(entry.path());
  }
  if (error) return IoError(fmt::format("{}: list failed: {}", folder, error.message()));
  std::sort(paths.begin(), paths.end());
  Json files = Json::array();
  for (const fs::path& path : paths) {
    OCTAVO_ASSIGN_OR_RETURN(std::string hash, Sha256OfFile(path.string()));
    files.push_back({{"name", path.filename().string()},
                     {"bytes", static_cast<uint64_t>(fs::file_size(path, error))},
                     {"sha256", std::move(hash)}});
  }
  report["files"] = std::move(files);
  return Status::Ok();
}

Status CheckLimits(const QualityLimits& limits, const Json& report) {
  std::vector<std::string> broken;
  const auto check = [&](const Json& figure, double limit, std::string_view what) {
    if (limit <= 0) return;
    const Json& value = figure["value"];
    if (value.is_number() && value.get<double>() <= limit) return;
    broken.push_back(value.is_number()
                         ? fmt::format("{} is {:.4g}, limit {:g}", what, value.get<double>(), limit)
                         : fmt::format("{} is not finite, limit {:g}", what, limit));
  };
  check(report["divergence"]["mean_kl"], limits.max_kld, "mean KL divergence");
  check(report["perplexity"]["increase_percent"], limits.max_perplexity_percent,
        "perplexity increase in percent");
  if (broken.empty()) return Status::Ok();
  return FailedPrecondition(fmt::format("{}", fmt::join(broken, "; ")));
}

}  // namespace octavo
