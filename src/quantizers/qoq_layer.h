// SPDX-License-Identifier: Apache-2.0
// QoQ's transforms of one layer that need calibration: SmoothAttention, channel reordering and output
// smoothing, from statistics of the layer's inputs. (Rotation comes before: rotate_checkpoint.h;
// clipping and GPTQ after: layer_quantizer.h.)
//
// Source: QServe, arXiv:2405.04532, section 4.3.
#pragma once

#include <vector>

#include "models/model_config.h"
#include "octavo/status.h"
#include "quantizers/calibration_report.h"
#include "quantizers/layer_modules.h"
#include "quantizers/layer_transform.h"
#include "quantizers/qoq_options.h"
#include "quantizers/smooth_attention.h"
#include "quantizers/smoothing.h"

namespace octavo {

struct QoqLayerInput {
  const Checkpoint& checkpoint;
  const LayerModules& layer;
  const ModelConfig& config;
  const QoqOptions& options;
  const LayerInputs& inputs;             // in the original order of channels
  const KeyStatistics& keys;             // KeyObserver's; empty: not observed
};

// Adds to `transform` and reports what was chosen. Channels are reordered for schemes with
// groups. Places where one of the modules is not qoq's, and experts without tokens, are left out.
Status ChooseQoqTransform(const QoqLayerInput& input, LayerTransform& transform, LayerReport& report);

// The layer's only module of a role, if qoq quantizes it; nullptr otherwise.
const LayerModule* FindQoqModule(const LayerModules& layer, std::string_view role);

}  // namespace octavo
