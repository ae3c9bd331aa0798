// SPDX-License-Identifier: Apache-2.0
// bf16 bits of the codes of fp8, int8 and int4 pages; all of them are exact.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention/kv_layout.h"

namespace octavo {

// Indexed by the code byte; int4 by the nibble, repeated so that more index bits do no harm.
struct alignas(64) KvCodeTable {
  uint16_t bf16[256];
  // Low and high bytes of the codes 0..127, for byte permutes. The codes of int8 from 128 on are
  // negative numbers: they are looked up by magnitude.
  uint8_t low[128];
  uint8_t high[128];
  KvDType dtype;
};

// The table of a type with codes; some table for f32 and bf16, which need none.
const KvCodeTable& KvCodeTableOf(KvDType dtype);

}  // namespace octavo
