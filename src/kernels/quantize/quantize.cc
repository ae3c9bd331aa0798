// SPDX-License-Identifier: Apache-2.0
// Chooses the quantizing loops of an ISA level.
#include "kernels/quantize/quantize.h"

#include "kernels/quantize/quantize_levels.h"

namespace octavo {

const QuantizeOps& QuantizeOpsFor(IsaLevel isa) {
  if (isa >= IsaLevel::kAvx512) return kQuantizeAvx512;
  return isa == IsaLevel::kAvx2 ? kQuantizeAvx2 : kQuantizeReference;
}

const QuantizeOps& ActiveQuantizeOps() {
  static const QuantizeOps& ops = [&]() -> const QuantizeOps& {
    const auto isa = ActiveIsa();
    return QuantizeOpsFor(isa.ok() ? *isa : IsaLevel::kReference);
  }();
  return ops;
}

}  // namespace octavo
