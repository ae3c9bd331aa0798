// SPDX-License-Identifier: Apache-2.0
// A weight expanded to bf16 on request (`--lm-head-dtype bf16`, expanding a GGUF).
#pragma once

#include <memory>

#include "schemes/weight_source.h"

namespace octavo {

// `source` as plain bf16 rows, its dequantized values rounded to nearest even. A source that is bf16
// already comes back unchanged.
std::unique_ptr<WeightSource> MakeBf16Source(std::unique_ptr<WeightSource> source);

}  // namespace octavo
