// SPDX-License-Identifier: Apache-2.0
// One buffer per thread that multiplies.
#include "kernels/gemm/scratch.h"

#include <memory>
#include <new>

namespace octavo {
namespace {

constexpr std::align_val_t kAlignment{64};

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, kAlignment); }
};

}  // namespace

std::byte* GemmScratch(size_t bytes) {
  thread_local std::unique_ptr<std::byte[], AlignedDelete> memory;
  thread_local size_t size = 0;
  if (size < bytes) {
    memory.reset();
    memory.reset(new (kAlignment) std::byte[bytes]);
    size = bytes;
  }
  return memory.get();
}

}  // namespace octavo
