// SPDX-License-Identifier: Apache-2.0
// OMNISERVE: the W4A8 and W8A8 tensors of omniserve (QServe). The bytes are in schemes/omniserve_form.h;
// `octavo convert` writes them.
#include "schemes/omniserve_form.h"

namespace octavo {

extern const Scheme kScheme_omniserve;
constinit const Scheme kScheme_omniserve = {
    .name = "OMNISERVE",
    .summary = "omniserve (QServe) W4A8 per group or channel, and W8A8",
    .online_name = "",
    .method = "",
    .format = "",
    .args = {},
    .open = &OpenOmniserve,
};

}  // namespace octavo
