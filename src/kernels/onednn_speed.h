// SPDX-License-Identifier: Apache-2.0
// The same products by oneDNN's matmul, for `octavo bench kernels`: in builds with -DOCTAVO_ONEDNN=ON only
// (Debian: libdnnl-dev). Nothing else uses the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/cpu_features.h"
#include "kernels/speed_rounds.h"
#include "octavo/status.h"

namespace octavo {

// "oneDNN 2.6.3", or why there is none.
std::string OneDnnVersion();
bool HasOneDnn();

enum class OneDnnType : uint8_t { kBf16, kInt8 };  // bf16 x bf16 -> f32, s8 x s8 -> f32

// One thread, weights [n, k] in the layout that oneDNN prefers for this number of rows.
class OneDnnSpeed {
 public:
  // Weights are copied until they fill `cold_bytes`, as GemmSpeed does it; the peak is that of `isa`.
  // Errors: Unimplemented without the library, Internal with its own message.
  static Result<OneDnnSpeed> Create(OneDnnType type, int64_t rows, int64_t n, int64_t k, size_t cold_bytes,
                                    IsaLevel isa);
  OneDnnSpeed(OneDnnSpeed&&) noexcept;
  ~OneDnnSpeed();

  // Some milliseconds of the peak loop, then of the product.
  SpeedRound Round();

 private:
  struct Impl;
  explicit OneDnnSpeed(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo
