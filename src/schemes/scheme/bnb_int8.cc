// SPDX-License-Identifier: Apache-2.0
// BNB_INT8: bitsandbytes int8: one scale per row, run with 16-bit activations. Read only; the bytes are in schemes/bitsandbytes_form.h.
#include "schemes/bitsandbytes_form.h"
#include "schemes/scheme.h"

namespace octavo {

extern const Scheme kScheme_bnb_int8;
constinit const Scheme kScheme_bnb_int8 = {
    .name = "BNB_INT8",
    .summary = "bitsandbytes int8: one scale per row, run with 16-bit activations",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenBnbInt8,
};

}  // namespace octavo
