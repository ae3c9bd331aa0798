// SPDX-License-Identifier: Apache-2.0
// Memory in which a kernel keeps the decoded panel that all rows of a product read.
#pragma once

#include <cstddef>

namespace octavo {

// At least `bytes` on a cache line: the calling thread's, until it asks again. Reused; allocates only for
// more than any call before.
std::byte* GemmScratch(size_t bytes);

}  // namespace octavo
