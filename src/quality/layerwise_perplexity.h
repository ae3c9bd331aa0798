// SPDX-License-Identifier: Apache-2.0
// Perplexity of a model that is in memory one layer at a time, with a hand on the inputs of its linears.
#pragma once

#include <atomic>
#include <functional>

#include "models/layerwise_model.h"
#include "octavo/status.h"
#include "quality/evaluation_text.h"

namespace octavo {

// Runs all windows through the layers and scores them (metrics/perplexity.h). `tap` sees the input of
// every linear inside the layers and may be null; one that owns up to it may write to the rows, which
// are the step's own. `cancel` and `progress` (steps of layer and window) may be null. The model was
// opened for texts of text.window tokens.
Result<double> LayerwisePerplexity(LayerwiseModel& model, const EvaluationText& text, ThreadPool& pool,
                                   const LinearTap* tap, const std::atomic<bool>* cancel,
                                   const std::function<void()>& progress);

}  // namespace octavo
