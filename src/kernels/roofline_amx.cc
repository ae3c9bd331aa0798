// SPDX-License-Identifier: Apache-2.0
// Peak loops of the tile dot products: four independent accumulators, operands in tiles.
#include <immintrin.h>

#include "kernels/roofline_loops.h"

namespace octavo {
namespace {

void Configure() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  asm volatile("" : "+m"(config));  // GCC 12 believes that ldtilecfg reads 8 bytes only
  _tile_loadconfig(&config);
}

}  // namespace

double PeakInt8_amx(int64_t iterations) {
  Configure();
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(iterations) * 4 * 32768;
}

double PeakBf16_amx(int64_t iterations) {
  Configure();
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(iterations) * 4 * 16384;
}

}  // namespace octavo
