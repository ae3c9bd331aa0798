// SPDX-License-Identifier: Apache-2.0
// Token ids as people write them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "octavo/status.h"

namespace octavo {

// "1,2,3", "1 2 3" or "[1, 2, 3]": non-negative 32-bit integers between commas, white space or one
// pair of brackets. The error quotes what is no id.
Result<std::vector<int32_t>> ParseTokenIds(std::string_view text);

}  // namespace octavo
