// SPDX-License-Identifier: Apache-2.0
// Reports a broken invariant and stops: continuing would corrupt data.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace octavo::internal {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "octavo: internal error: CHECK(%s) failed at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace octavo::internal
