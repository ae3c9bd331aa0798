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

// A range to fetch line by line beside the tile products, so many lines per k step.
struct FetchAhead {
  const std::byte* at = nullptr;
  int64_t lines = 0;  // per step
};

// One product of up to 32 rows x `steps` k steps x 32 channels. Activations in row order have
// a_stride = bytes of a row and chunk_mask = 0; in tile order a_stride = 64 and chunk_mask = ~63.
struct TileProduct {
  const std::byte* a[2];  // the two row tiles, column 0
  int64_t a_stride;       // bytes
  int64_t a_chunk_mask;
  int64_t a_column;       // first column, in bytes
  int64_t a_step;         // bytes per k step
  const std::byte* b;     // tiles of the first step
  int64_t b_tile;         // bytes of one tile
  int64_t steps;
  std::byte* c;           // [rows][32] dwords
  bool load_c;            // continue from c, else from zero
  FetchAhead weights, rows[2];  // to L2: the next chunk's codes, the next activations
  FetchAhead sums;              // to L1, to be written: the next rows' c
  const std::byte* out = nullptr;  // lines that the epilogue will write, [32] rows of 128 bytes; null: none
  int64_t out_stride = 0;          // bytes
  int64_t out_rows = 0;            // fetched so far
};

// Where column `column` (in bytes) of a row tile starts.
[[gnu::always_inline]] inline int64_t ColumnOffset(int64_t column, int64_t chunk_mask) {
  return column + (column & chunk_mask) * 15;  // in tile order a chunk is 16 lines from the next
}

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
[[gnu::always_inline]] inline void StepC(const std::byte* a0, const std::byte* a1, int64_t a_stride,
                                         const std::byte* b, int64_t b_tile) {
  _tile_loadd(6, b, 64);
  _tile_stream_loadd(4, a0, a_stride);
  Dot::Dot00();
  _tile_loadd(7, b + b_tile, 64);
  Dot::Dot01();
  if (kTwoRowTiles) {
    _tile_stream_loadd(5, a1, a_stride);
    Dot::Dot10();
    Dot::Dot11();
  }
}

template <int kLocality, int kWrite>
[[gnu::always_inline]] inline void Fetch(FetchAhead& f) {
  for (const std::byte* end = f.at + f.lines * 64; f.at < end; f.at += 64) {
    __builtin_prefetch(f.at, kWrite, kLocality);
  }
}

// The product; beside() is called once per step, for work that runs in the shadow of the tile units.
template <typename Dot, bool kTwoRowTiles, typename Beside>
[[gnu::always_inline]] inline void MultiplyTiles(TileProduct& p, const Beside& beside) {
  if (p.load_c) {
    LoadC<kTwoRowTiles>(p.c);
  } else {
    ZeroC<kTwoRowTiles>();
  }
  const std::byte* b = p.b;
  int64_t column = p.a_column;
  for (int64_t s = 0; s < p.steps; ++s) {
    Fetch<2, 0>(p.weights);
    Fetch<2, 0>(p.rows[0]);
    Fetch<2, 0>(p.rows[1]);
    Fetch<3, 1>(p.sums);
    if (p.out != nullptr && p.out_rows < 32) {  // spread: a burst would fill the line buffers
      for (const int64_t end = p.out_rows + 4; p.out_rows < end; ++p.out_rows) {
        __builtin_prefetch(p.out + p.out_rows * p.out_stride, 1, 2);
        __builtin_prefetch(p.out + p.out_rows * p.out_stride + 64, 1, 2);
      }
    }
    beside();
    const int64_t offset = ColumnOffset(column, p.a_chunk_mask);
    StepC<Dot, kTwoRowTiles>(p.a[0] + offset, p.a[1] + offset, p.a_stride, b, p.b_tile);
    column += p.a_step;
    b += 2 * p.b_tile;
  }
  StoreC<kTwoRowTiles>(p.c);
}

}  // namespace
}  // namespace octavo
