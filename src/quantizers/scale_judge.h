// SPDX-License-Identifier: Apache-2.0
// How much a site's scales help: the error that rounding its consumers to nearest makes under them.
//
// Two measures. Linears behind another linear (o_proj, down_proj) are judged by their own outputs, through
// the Gram matrix of their inputs. What follows a norm meets in a softmax or a product of gate and up, where
// errors of equal size differ a hundredfold in what they do: there the whole layer runs on a sample of the
// calibration tokens. Errors of one measure can be compared, those of two cannot.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/status.h"
#include "quantizers/boundary_file.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_runner.h"
#include "quantizers/search_error.h"
#include "quantizers/smoothing.h"

namespace octavo {

// The consumers of a site that AWQ rounds and that met a token.
std::vector<const LayerModule*> Voters(const LayerModules& layer, const LayerSite& site, const LayerInputs& inputs);

// Rows of a module that stand for all of them.
struct SampledRows {
  std::vector<float> values;  // [count, k]
  int64_t count = 0;
};
Result<SampledRows> SampleRows(const Checkpoint& checkpoint, const LayerModule& module);

// The squared output error of linears, over all calibration tokens, by at most 512 rows each.
class LinearJudge {
 public:
  // Voters without Gram matrix have no say. All arguments must outlive the judge.
  static Result<LinearJudge> Create(const Checkpoint& checkpoint, const std::vector<const LayerModule*>& voters,
                                    const LayerInputs& inputs, MatrixProduct& product);

  // `scales` [k]: of the columns.
  Result<double> Error(const std::vector<float>& scales) const;

 private:
  struct Sample {
    const LayerModule* module = nullptr;
    SampledRows rows;
    SearchGram gram;
  };

  explicit LinearJudge(MatrixProduct& product) : product_(&product) {}
  Result<double> ErrorOf(const Sample& sample, const std::vector<float>& scales) const;

  MatrixProduct* product_;
  std::vector<Sample> samples_;
};

// The mean over some 1024 calibration tokens of |h' - h|^2 / |h|^2, h being the residual stream after the
// layer: relative, since the next norm divides by |h|, and since a few tokens can have a hundred times the
// norm of others.
class LayerJudge {
 public:
  // The runner holds the layer with its original weights. All arguments must outlive the judge.
  static Result<LayerJudge> Create(const Checkpoint& checkpoint, LayerRunner& runner, int64_t layer,
                                   const BoundaryFile& in);

  // Leaves the layer loaded with rounded weights.
  Result<double> Error(const std::vector<const LayerModule*>& voters, const std::vector<float>& scales);

  // Of the sample.
  int64_t num_tokens() const { return num_tokens_; }

 private:
  LayerJudge(const Checkpoint& checkpoint, LayerRunner& runner, int64_t layer, const BoundaryFile& in)
      : checkpoint_(&checkpoint), runner_(&runner), layer_(layer), in_(&in) {}

  const Checkpoint* checkpoint_;
  LayerRunner* runner_;
  int64_t layer_;
  const BoundaryFile* in_;
  std::vector<float> expected_;  // [num_tokens, hidden_size]
  int64_t num_tokens_ = 0;
};

}  // namespace octavo
