// SPDX-License-Identifier: Apache-2.0
// Trial rounding.
#include "quantizers/scale_judge.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "quantizers/layer_transform.h"
#include "quantizers/output_error.h"
#include "quantizers/quantized_source.h"

namespace octavo {
namespace {

constexpr int64_t kSampledRows = 512;
constexpr int64_t kSampledTokens = 1024;

}  // namespace

std::vector<const LayerModule*> Voters(const LayerModules& layer, const LayerSite& site, const LayerInputs& inputs) {
  std::vector<const LayerModule*> voters;
  for (const size_t index : site.consumers) {
    const LayerModule& module = layer.modules[index];
    if (module.algorithm().awq && inputs.contains(module.name)) voters.push_back(&module);
  }
  return voters;
}

Result<SampledRows> SampleRows(const Checkpoint& checkpoint, const LayerModule& module) {
  const int64_t n = module.tensor->rows();
  const int64_t k = module.tensor->cols();
  SampledRows sample;
  sample.count = std::min(n, kSampledRows);
  sample.values.resize(static_cast<size_t>(sample.count * k));
  for (int64_t i = 0; i < sample.count; ++i) {
    OCTAVO_RETURN_IF_ERROR(
        ReadOriginalRows(checkpoint, *module.tensor, i * n / sample.count, 1, sample.values.data() + i * k));
  }
  return sample;
}

Result<LinearJudge> LinearJudge::Create(const Checkpoint& checkpoint, const std::vector<const LayerModule*>& voters,
                                        const LayerInputs& inputs, MatrixProduct& product) {
  LinearJudge judge(product);
  for (const LayerModule* module : voters) {
    const InputStatistics& input = *inputs.at(module->name);
    if (!input.has_gram()) continue;
    OCTAVO_ASSIGN_OR_RETURN(SearchGram gram, SearchGram::Pack(input.Gram(), product));
    OCTAVO_ASSIGN_OR_RETURN(SampledRows rows, SampleRows(checkpoint, *module));
    judge.samples_.push_back({module, std::move(rows), std::move(gram)});
  }
  return judge;
}

Result<double> LinearJudge::Error(const std::vector<float>& scales) const {
  double sum = 0;
  for (const Sample& sample : samples_) {
    OCTAVO_ASSIGN_OR_RETURN(const double error, ErrorOf(sample, scales));
    sum += error;
  }
  return sum;
}

Result<double> LinearJudge::ErrorOf(const Sample& sample, const std::vector<float>& scales) const {
  const LayerModule& module = *sample.module;
  const auto k = static_cast<int64_t>(scales.size());
  const int64_t count = sample.rows.count;
  const Candidate candidate{
      .read = [&](int64_t row, float* x) {
        const float* from = sample.rows.values.data() + row * k;
        for (int64_t i = 0; i < k; ++i) x[i] = from[i] * scales[static_cast<size_t>(i)];
      },
      .error = [&](int64_t row, float* values) {
        const float* from = sample.rows.values.data() + row * k;
        for (int64_t i = 0; i < k; ++i) values[i] = values[i] / scales[static_cast<size_t>(i)] - from[i];
      }};
  std::vector<float> errors(sample.rows.values.size());
  OCTAVO_RETURN_IF_ERROR(RoundCandidate(module.scheme(), *module.planned->module, candidate, count, product_->pool(),
                                        errors.data()));
  std::vector<double> forms;
  OCTAVO_RETURN_IF_ERROR(sample.gram.Forms({errors.data(), count, k, k}, *product_, forms));
  double sum = 0;
  for (const double form : forms) sum += form;
  return sum * static_cast<double>(module.tensor->rows()) / static_cast<double>(count);
}

Result<LayerJudge> LayerJudge::Create(const Checkpoint& checkpoint, LayerRunner& runner, int64_t layer,
                                      const BoundaryFile& in) {
  LayerJudge judge(checkpoint, runner, layer, in);
  OCTAVO_ASSIGN_OR_RETURN(const LayerRunner::Rows out, runner.RunSome(in, kSampledTokens));
  judge.expected_.assign(out.values, out.values + out.count * runner.hidden_size());
  judge.num_tokens_ = out.count;
  return judge;
}

Result<double> LayerJudge::Error(const std::vector<const LayerModule*>& voters, const std::vector<float>& scales) {
  const auto rounded = [&](const std::string& name) -> Result<std::unique_ptr<WeightSource>> {
    const auto it = std::find_if(voters.begin(), voters.end(), [&](const auto* m) { return m->name == name; });
    if (it == voters.end()) return std::unique_ptr<WeightSource>();
    return MakeTrialSource(*checkpoint_, *(*it)->tensor, (*it)->scheme(), *(*it)->planned->module, scales);
  };
  OCTAVO_RETURN_IF_ERROR(runner_->Load(layer_, rounded, {}));
  OCTAVO_ASSIGN_OR_RETURN(const LayerRunner::Rows out, runner_->RunSome(*in_, kSampledTokens));
  const auto hidden_size = static_cast<size_t>(runner_->hidden_size());
  return MeanRelativeError({out.values, static_cast<size_t>(out.count) * hidden_size}, expected_, hidden_size);
}

}  // namespace octavo
