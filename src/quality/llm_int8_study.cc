// SPDX-License-Identifier: Apache-2.0
// Runs the variants one after the other, each layer by layer.
#include "quality/llm_int8_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/float16.h"
#include "io/hf_config.h"
#include "models/layerwise_model.h"
#include "quality/layerwise_perplexity.h"
#include "schemes/open_linear.h"

namespace octavo {
namespace {

constexpr Int8Code kAbsmax = Int8Code::kAbsmax, kZeropoint = Int8Code::kZeropoint;
constexpr std::array<Int8Variant, 9> kVariants = {{
    {.name = "fp32", .quantize = false},
    {.name = "Int8 absmax", .code = kAbsmax},
    {.name = "Int8 zeropoint", .code = kZeropoint},
    {.name = "Int8 absmax row-wise", .code = kAbsmax, .token_scales = true},
    {.name = "Int8 absmax vector-wise", .code = kAbsmax, .token_scales = true, .channel_scales = true},
    {.name = "Int8 zeropoint vector-wise", .code = kZeropoint, .token_scales = true, .channel_scales = true},
    {.name = "Int8 absmax row-wise + decomposition", .code = kAbsmax, .token_scales = true, .decompose = true},
    {.name = "LLM.int8() absmax (vector-wise + decomposition)", .code = kAbsmax, .token_scales = true,
     .channel_scales = true, .decompose = true},
    {.name = "LLM.int8() zeropoint (vector-wise + decomposition)", .code = kZeropoint, .token_scales = true,
     .channel_scales = true, .decompose = true},
}};

// A weight whose values are those of its int8 codes; with decomposition all original columns beside it.
class FakeInt8Source final : public WeightSource {
 public:
  static Result<std::unique_ptr<WeightSource>> Open(const WeightSource& original, const Int8Variant& variant) {
    auto source = std::make_unique<FakeInt8Source>();
    const int64_t n = original.spec().n, k = original.spec().k;
    source->spec_ = {.code = CodeType::kF32, .bits = 32, .n = n, .k = k};
    source->info_ = original.info();
    source->info_.activation = ActivationFormat::kF32;
    source->values_.resize(static_cast<size_t>(n * k));
    float* values = source->values_.data();
    OCTAVO_RETURN_IF_ERROR(original.DequantizeRows(0, n, values));
    if (variant.decompose) {
      source->info_.outlier_threshold = kDefaultOutlierThreshold;
      source->kept_ = AllColumns(values, n, k);
    }
    FakeInt8Matrix(variant.code, variant.channel_scales, values, n, k, k);
    return std::unique_ptr<WeightSource>(std::move(source));
  }

  Status ReadRows(int64_t row_begin, int64_t count, WeightRows& rows) const override {
    OCTAVO_RETURN_IF_ERROR(CheckRange(row_begin, count));
    rows.Resize(spec_, count);
    std::memcpy(rows.codes.data(), values_.data() + row_begin * spec_.k, rows.codes.size());
    return Status::Ok();
  }

  Result<KeptColumns> ReadKeptColumns() const override { return kept_; }

 private:
  static KeptColumns AllColumns(const float* values, int64_t n, int64_t k) {
    constexpr int64_t kBlock = 64;  // columns per pass: their lines stay in L1
    KeptColumns kept;
    kept.columns.resize(static_cast<size_t>(k));
    std::iota(kept.columns.begin(), kept.columns.end(), uint16_t{0});
    kept.values.resize(static_cast<size_t>(n * k));
    for (int64_t begin = 0; begin < k; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, k);
      for (int64_t row = 0; row < n; ++row) {
        for (int64_t i = begin; i < end; ++i) {
          kept.values[static_cast<size_t>(i * n + row)] = F32ToBf16(values[row * k + i]);
        }
      }
    }
    return kept;
  }

  std::vector<float> values_;  // [n, k]
  KeptColumns kept_;
};

class Study {
 public:
  Study(std::shared_ptr<const Checkpoint> checkpoint, const LinearLoader& loader, const EvaluationText& text,
        ThreadPool& pool)
      : checkpoint_(std::move(checkpoint)), loader_(loader), text_(text), pool_(pool) {}

  Result<Int8StudyRow> Run(const Int8Variant& variant, const std::atomic<bool>* cancel,
                           const std::function<void()>& progress) {
    WeightOverrides overrides;
    overrides.open = [&](const std::string& module) -> Result<std::unique_ptr<WeightSource>> {
      if (!variant.quantize) return std::unique_ptr<WeightSource>();
      OCTAVO_ASSIGN_OR_RETURN(const auto original, loader_.OpenLinear(module));
      return FakeInt8Source::Open(*original, variant);
    };
    LoadOptions load;
    load.dtype = ComputeDType::kFloat32;
    load.max_model_len = text_.window;
    load.overrides = &overrides;
    OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
    OCTAVO_ASSIGN_OR_RETURN(LayerwiseModel model,
                            LayerwiseModel::Open(checkpoint_, load, KvDType::kF32, isa, pool_));
    int64_t values = 0, outliers = 0;
    // The rows belong to the step, and nothing but the linear reads them.
    const LinearTap round = [&](std::string_view, const ActivationView& x) {
      auto* rows = const_cast<float*>(x.Row<float>(0));
      FakeInt8Matrix(variant.code, variant.token_scales, rows, x.rows, x.cols, x.row_stride);
      values += x.rows * x.cols;
      for (int64_t m = 0; m < (x.outliers == nullptr ? 0 : x.rows); ++m) outliers += x.outlier_counts[m];
    };
    const LinearTap* tap = variant.quantize ? &round : nullptr;
    OCTAVO_ASSIGN_OR_RETURN(const double perplexity,
                            LayerwisePerplexity(model, text_, pool_, tap, cancel, progress));
    const double share = values == 0 ? 0 : static_cast<double>(outliers) / static_cast<double>(values);
    return Int8StudyRow{.name = variant.name, .perplexity = perplexity, .outlier_share = share};
  }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  const LinearLoader& loader_;
  const EvaluationText& text_;
  ThreadPool& pool_;
};

double Increase(const std::vector<Int8StudyRow>& rows, const Int8StudyRow& row) {
  return 100 * (row.perplexity / rows.front().perplexity - 1);
}

}  // namespace

std::span<const Int8Variant> Int8Variants() { return kVariants; }

Result<std::vector<Int8StudyRow>> RunInt8Study(std::shared_ptr<const Checkpoint> checkpoint,
                                               const EvaluationText& text, ThreadPool& pool,
                                               const std::atomic<bool>* cancel,
                                               const std::function<void(uint64_t, uint64_t)>& progress) {
  OCTAVO_ASSIGN_OR_RETURN(const LinearLoader loader, LinearLoader::Create(*checkpoint));
  if (loader.config().quantized()) {
    return FailedPrecondition(fmt::format("{}: is quantized already ({})", checkpoint->path(),
                                          loader.config().method()));
  }
  OCTAVO_ASSIGN_OR_RETURN(const Json config, NormalizeConfig(checkpoint->config()));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t layers, GetInt(config, "num_hidden_layers", 1, 1 << 20));
  const auto total = static_cast<uint64_t>(layers * text.windows()) * kVariants.size();
  uint64_t done = 0;
  Study study(std::move(checkpoint), loader, text, pool);
  std::vector<Int8StudyRow> rows;
  for (const Int8Variant& variant : kVariants) {
    OCTAVO_ASSIGN_OR_RETURN(Int8StudyRow row, study.Run(variant, cancel, [&] {
      if (progress) progress(++done, total);
    }));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string Int8StudyTable(const std::vector<Int8StudyRow>& rows) {
  std::string out = fmt::format("{:<52} {:>11} {:>10} {:>9}\n", "", "perplexity", "increase", "outliers");
  for (const Int8StudyRow& row : rows) {
    out += fmt::format("{:<52} {:>11.3f} {:>8.2f} % {:>7.3f} %\n", row.name, row.perplexity, Increase(rows, row),
                       100 * row.outlier_share);
  }
  return out;
}

Json Int8StudyJson(const std::vector<Int8StudyRow>& rows) {
  Json json = Json::array();
  for (const Int8StudyRow& row : rows) {
    json.push_back({{"name", row.name},
                    {"perplexity", row.perplexity},
                    {"increase_percent", Increase(rows, row)},
                    {"outlier_share", row.outlier_share}});
  }
  return json;
}

}  // namespace octavo
