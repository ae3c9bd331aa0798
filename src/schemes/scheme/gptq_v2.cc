// SPDX-License-Identifier: Apache-2.0
// GPTQ_V2: GPTQ checkpoints with checkpoint_format gptq_v2. Read only; the bytes are in schemes/transposed_form.h.
#include "schemes/transposed_form.h"
#include "schemes/scheme.h"

namespace octavo {

extern const Scheme kScheme_gptq_v2;
constinit const Scheme kScheme_gptq_v2 = {
    .name = "GPTQ_V2",
    .summary = "GPTQ checkpoints with checkpoint_format gptq_v2",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenGptqV2,
};

}  // namespace octavo
