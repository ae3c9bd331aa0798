// SPDX-License-Identifier: Apache-2.0
// Entry point of the `octavo` program.
#include <cstdio>
#include <exception>
#include <new>

#include "cli/command.h"

int main(int argc, char** argv) {
  // Modules report through Status; what still arrives here is memory pressure or a bug.
  try {
    return octavo::RunCommandLine(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("octavo: error: resource exhausted: out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "octavo: error: internal: %s\n", error.what());
  }
  return 1;
}
