// SPDX-License-Identifier: Apache-2.0
// The eight AMX tiles as a 32 x 32 block product: configuration, one k step, and the loop over k.
//
// Include after simd_avx512.h in a file compiled for AMX.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace octavo {
namespace {

inline constexpr int kAmxChannels = 32;
inline constexpr int64_t kAmxRowBytes = kAmxChannels * 4;

// The shape of all tiles: rows of the two A (and C) tiles, bytes of an A row, rows of a B tile.
struct TileShape {
  int rows0 = 16;
  int rows1 = 16;
  int a_bytes = 64;
  int b_rows = 16;
};

// Tiles 0-3: C (row tile, channel half) = (0,0) (0,1) (1,0) (1,1); 4, 5: A; 6, 7: B.
inline void ConfigureTiles(const TileShape& shape) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {};
    uint8_t rows[16] = {};
  } config;
  const int rows1 = shape.rows1 > 0 ? shape.rows1 : 1;
  const int rows[8] = {shape.rows0, shape.rows0, rows1, rows1, shape.rows0, rows1, shape.b_rows, shape.b_rows};
  for (int t = 0; t < 8; ++t) {
    config.rows[t] = static_cast<uint8_t>(rows[t]);
    config.bytes_per_row[t] = static_cast<uint16_t>(t == 4 || t == 5 ? shape.a_bytes : 64);
  }
  asm volatile("" : "+m"(config));  // GCC 12 believes that ldtilecfg reads 8 bytes only
  _tile_loadconfig(&config);
}

struct DotS8 {
  static constexpr int kTileK = 64, kElementBytes = 1;
  static constexpr bool kInteger = true;
  [[gnu::always_inline]] static void Dot00() { _tile_dpbssd(0, 4, 6); }
  [[gnu::always_inline]] static void Dot01() { _tile_dpbssd(1, 4, 7); }
  [[gnu::always_inline]] static void Dot10() { _tile_dpbssd(2, 5, 6); }
  [[gnu::always_inline]] static void Dot11() { _tile_dpbssd(3, 5, 7); }
};

struct DotU8 {  // weights unsigned
  static constexpr int kTileK = 64, kElementBytes = 1;
  static constexpr bool kInteger = true;
  [[gnu::always_inline]] static void Dot00() { _tile_dpbsud(0, 4, 6); }
  [[gnu::always_inline]] static void Dot01() { _tile_dpbsud(1, 4, 7); }
  [[gnu::always_inline]] static void Dot10() { _tile_dpbsud(2, 5, 6); }
  [[gnu::always_inline]] static void Dot11() { _tile_dpbsud(3, 5, 7); }
};

struct DotBf16 {
  static constexpr int kTileK = 32, kElementBytes = 2;
  static constexpr bool kInteger = false;
  [[gnu::always_inline]] static void Dot00() { _tile_dpbf16ps(0, 4, 6); }
  [[gnu::always_inline]] static void Dot01() { _tile_dpbf16ps(1, 4, 7); }
  [[gnu::always_inline]] static void Dot10() { _tile_dpbf16ps(2, 5, 6); }
  [[gnu::always_inline]] static void Dot11() { _tile_dpbf16ps(3, 5, 7); }
};

// One product of up to 32 rows x `steps` k steps x 32 channels.
struct TileProduct {
  const std::byte* a;  // first row
  int64_t a_stride;    // bytes
  int64_t a_step;      // bytes per k step
  const std::byte* b;  // tiles of the first step
  int64_t b_tile;      // bytes of one tile
  int64_t steps;
  std::byte* c;        // [rows][32] dwords
  bool load_c;         // continue from c, else from zero
  int64_t prefetch;    // fetch B this many bytes ahead into L2; 0: not
  const std::byte* out;  // lines that the epilogue will write, [32] rows of 128 bytes; null: none
  int64_t out_stride;    // bytes
};

template <bool kTwoRowTiles>
[[gnu::always_inline]] inline void ZeroC() {
  _tile_zero(0);
  _tile_zero(1);
  if (kTwoRowTiles) {
    _tile_zero(2);
    _tile_zero(3);
  }
}

template <bool kTwoRowTiles>
[[gnu::always_inline]] inline void LoadC(const std::byte* c) {
  _tile_loadd(0, c, kAmxRowBytes);
  _tile_loadd(1, c + 64, kAmxRowBytes);
  if (kTwoRowTiles) {
    _tile_loadd(2, c + 16 * kAmxRowBytes, kAmxRowBytes);
    _tile_loadd(3, c + 16 * kAmxRowBytes + 64, kAmxRowBytes);
  }
}

template <bool kTwoRowTiles>
[[gnu::always_inline]] inline void StoreC(std::byte* c) {
  _tile_stored(0, c, kAmxRowBytes);
  _tile_stored(1, c + 64, kAmxRowBytes);
  if (kTwoRowTiles) {
    _tile_stored(2, c + 16 * kAmxRowBytes, kAmxRowBytes);
    _tile_stored(3, c + 16 * kAmxRowBytes + 64, kAmxRowBytes);
  }
}

// One k step: C += A * B. A is read once per panel: the streaming hint keeps B in L1.
template <typename Dot, bool kTwoRowTiles>
[[gnu::always_inline]] inline void StepC(const std::byte* a, int64_t a_stride, const std::byte* b,
                                         int64_t b_tile) {
  _tile_loadd(6, b, 64);
  _tile_stream_loadd(4, a, a_stride);
  Dot::Dot00();
  _tile_loadd(7, b + b_tile, 64);
  Dot::Dot01();
  if (kTwoRowTiles) {
    _tile_stream_loadd(5, a + 16 * a_stride, a_stride);
    Dot::Dot10();
    Dot::Dot11();
  }
}

template <typename Dot, bool kTwoRowTiles>
[[gnu::noinline]] void MultiplyTiles(const TileProduct& p) {
  if (p.load_c) {
    LoadC<kTwoRowTiles>(p.c);
  } else {
    ZeroC<kTwoRowTiles>();
  }
  const std::byte* a = p.a;
  const std::byte* b = p.b;
  for (int64_t s = 0; s < p.steps; ++s) {
    if (p.prefetch != 0) {
      for (int64_t i = 0; i < 2 * p.b_tile; i += 64) __builtin_prefetch(b + p.prefetch + i, 0, 2);
    }
    if (p.out != nullptr && s < 8) {  // spread: a burst would fill the line buffers
      for (int64_t i = s * 4; i < s * 4 + 4; ++i) {
        __builtin_prefetch(p.out + i * p.out_stride, 1, 2);
        __builtin_prefetch(p.out + i * p.out_stride + 64, 1, 2);
      }
    }
    StepC<Dot, kTwoRowTiles>(a, p.a_stride, b, p.b_tile);
    a += p.a_step;
    b += 2 * p.b_tile;
  }
  StoreC<kTwoRowTiles>(p.c);
}

}  // namespace
}  // namespace octavo
