// SPDX-License-Identifier: Apache-2.0
// The tables that quantize_<level>.cc define; use QuantizeOpsFor() instead.
#pragma once

#include "kernels/quantize/quantize.h"

namespace octavo {

extern const QuantizeOps kQuantizeReference;
extern const QuantizeOps kQuantizeAvx2;
extern const QuantizeOps kQuantizeAvx512;

}  // namespace octavo
