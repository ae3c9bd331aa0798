// SPDX-License-Identifier: Apache-2.0
// AWQ: AWQ checkpoints, version gemm, 4 bits. Read only; the bytes are in schemes/transposed_form.h.
#include "schemes/transposed_form.h"
#include "schemes/scheme.h"

namespace octavo {

extern const Scheme kScheme_awq;
constinit const Scheme kScheme_awq = {
    .name = "AWQ",
    .summary = "AWQ checkpoints, version gemm, 4 bits",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenAwq,
};

}  // namespace octavo
