// SPDX-License-Identifier: Apache-2.0
// CHECK for broken invariants (bugs, never bad input) in every build; DCHECK in debug builds only.
#pragma once

namespace octavo::internal {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace octavo::internal

#define OCTAVO_CHECK(condition)                                            \
  (static_cast<bool>(condition)                                            \
       ? static_cast<void>(0)                                              \
       : ::octavo::internal::CheckFailed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define OCTAVO_DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#define OCTAVO_DCHECK(condition) OCTAVO_CHECK(condition)
#endif
