// SPDX-License-Identifier: Apache-2.0
// The tables that elementwise_<level>.cc define; use ElementwiseOpsFor() instead.
#pragma once

#include "kernels/elementwise/elementwise.h"

namespace octavo {

extern const ElementwiseOps kElementwiseReference;
extern const ElementwiseOps kElementwiseAvx2;
extern const ElementwiseOps kElementwiseAvx512;

}  // namespace octavo
