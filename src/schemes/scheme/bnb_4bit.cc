// SPDX-License-Identifier: Apache-2.0
// BNB_4BIT: bitsandbytes NF4 and FP4, also with nested scales, run in the model's type. Read only; the bytes are in schemes/bitsandbytes_form.h.
#include "schemes/bitsandbytes_form.h"
#include "schemes/scheme.h"

namespace octavo {

extern const Scheme kScheme_bnb_4bit;
constinit const Scheme kScheme_bnb_4bit = {
    .name = "BNB_4BIT",
    .summary = "bitsandbytes NF4 and FP4, also with nested scales, run in the model's type",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenBnb4Bit,
};

}  // namespace octavo
