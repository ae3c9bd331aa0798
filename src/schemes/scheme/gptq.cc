// SPDX-License-Identifier: Apache-2.0
// GPTQ: GPTQ checkpoints, v1 (stored zero + 1), 2, 3, 4 and 8 bits. Read only; the bytes are in schemes/transposed_form.h.
#include "schemes/transposed_form.h"
#include "schemes/scheme.h"

namespace octavo {

extern const Scheme kScheme_gptq;
constinit const Scheme kScheme_gptq = {
    .name = "GPTQ",
    .summary = "GPTQ checkpoints, v1 (stored zero + 1), 2, 3, 4 and 8 bits",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenGptq,
};

}  // namespace octavo
