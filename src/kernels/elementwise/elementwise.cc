// SPDX-License-Identifier: Apache-2.0
// Chooses the element-wise functions of an ISA level.
#include "kernels/elementwise/elementwise.h"

#include "kernels/elementwise/elementwise_levels.h"

namespace octavo {

const ElementwiseOps& ElementwiseOpsFor(IsaLevel isa) {
  if (isa >= IsaLevel::kAvx512) return kElementwiseAvx512;
  return isa == IsaLevel::kAvx2 ? kElementwiseAvx2 : kElementwiseReference;
}

const ElementwiseOps& ActiveElementwiseOps() {
  static const ElementwiseOps& ops = []() -> const ElementwiseOps& {
    const auto isa = ActiveIsa();
    return ElementwiseOpsFor(isa.ok() ? *isa : IsaLevel::kReference);
  }();
  return ops;
}

}  // namespace octavo
