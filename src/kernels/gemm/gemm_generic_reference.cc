// SPDX-License-Identifier: Apache-2.0
// The textbook kernel: every legal (weight, activation) pair, straight from the numerics in gemm.h.
//
// Panel of 16 channels: [scales g][mins g][zeros2 g][scales2 g] x 16 channels each as f32 or int32,
// then codes [k][16] as stored. A block of rows walks the panel chunk by chunk: decode up to 128
// columns to floats (or ints) once, then one chain per output.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/float16.h"
#include "kernels/gemm/gemm.h"

namespace octavo {
namespace {

constexpr int kChannels = 16;
constexpr int kRowBlock = 8;
constexpr int64_t kChunk = 128;

int64_t RoundUp(int64_t v, int64_t unit) { return (v + unit - 1) / unit * unit; }

// Offsets of the parts of a panel.
struct Layout {
  int64_t groups;
  int64_t code_bytes;
  int64_t scales = 0, mins, zeros2, scales2, codes, total;

  explicit Layout(const WeightSpec& w) : groups(w.groups()), code_bytes(w.code_bytes()) {
    const bool two_level = w.scales == ScaleLayout::kTwoLevel;
    const int64_t row = kChannels * 4;
    mins = scales + (two_level ? 1 : groups) * row;
    zeros2 = mins + (w.has_min ? groups : 0) * row;
    scales2 = zeros2 + (two_level ? groups : 0) * row;
    codes = scales2 + (two_level ? groups : 0) * row;
    total = codes + w.k * kChannels * code_bytes;
  }
};

template <typename T>
const T* At(const std::byte* panel, int64_t offset) {
  return reinterpret_cast<const T*>(panel + offset);
}

bool Accepts(const WeightSpec& weight, ActivationFormat format) { return IsLegalPair(weight, format); }

size_t PanelBytes(const WeightSpec& weight) {
  return static_cast<size_t>(RoundUp(Layout(weight).total, 64));
}

// Transposes `from` [16][per_row] into `to` [per_row][16].
template <typename From, typename To>
void Transpose(const From* from, int64_t per_row, std::byte* to) {
  auto* out = reinterpret_cast<To*>(to);
  for (int64_t i = 0; i < per_row; ++i) {
    for (int c = 0; c < kChannels; ++c) out[i * kChannels + c] = static_cast<To>(from[c * per_row + i]);
  }
}

void Pack(const WeightSpec& w, const WeightRows& rows, std::byte* panel) {
  const Layout layout(w);
  const bool two_level = w.scales == ScaleLayout::kTwoLevel;
  Transpose<float, float>(rows.scales.data(), two_level ? 1 : layout.groups, panel + layout.scales);
  if (w.has_min) Transpose<float, float>(rows.mins.data(), layout.groups, panel + layout.mins);
  if (two_level) {
    Transpose<uint8_t, int32_t>(rows.zeros2.data(), layout.groups, panel + layout.zeros2);
    Transpose<uint8_t, int32_t>(rows.scales2.data(), layout.groups, panel + layout.scales2);
  }
  std::byte* codes = panel + layout.codes;
  const uint8_t* from = rows.codes.data();
  switch (layout.code_bytes) {
    case 4: return Transpose<uint32_t, uint32_t>(reinterpret_cast<const uint32_t*>(from), w.k, codes);
    case 2: return Transpose<uint16_t, uint16_t>(reinterpret_cast<const uint16_t*>(from), w.k, codes);
    default: return Transpose<uint8_t, uint8_t>(from, w.k, codes);
  }
}

// Decodes `count` codes to floats.
template <typename Code, typename Value>
void DecodeWith(const std::byte* codes, int64_t count, float* out, const Value& value) {
  const Code* from = At<Code>(codes, 0);
  for (int64_t i = 0; i < count; ++i) out[i] = value(from[i]);
}

void Decode(const WeightSpec& w, const std::byte* codes, int64_t count, float* out) {
  switch (w.code) {
    case CodeType::kF32: return DecodeWith<float>(codes, count, out, [](float v) { return v; });
    case CodeType::kF16: return DecodeWith<uint16_t>(codes, count, out, F16ToF32);
    case CodeType::kBf16: return DecodeWith<uint16_t>(codes, count, out, Bf16ToF32);
    case CodeType::kE4M3: return DecodeWith<uint8_t>(codes, count, out, E4M3ToF32);
    case CodeType::kE5M2: return DecodeWith<uint8_t>(codes, count, out, E5M2ToF32);
    case CodeType::kInt: break;
  }
  if (w.has_min) return DecodeWith<uint8_t>(codes, count, out, [](uint8_t v) { return static_cast<float>(v); });
  DecodeWith<int8_t>(codes, count, out, [](int8_t v) { return static_cast<float>(v); });
}

// Results of a block of rows against one panel.
struct Tile {
  float acc[kRowBlock][kChannels];
  float partial[kRowBlock][kChannels];
  int32_t dot[kRowBlock][kChannels];
};

[[gnu::always_inline]] inline void ChainF32(const float* w, const float* x, int64_t count, float* total) {
  float acc[kChannels];
  std::copy_n(total, kChannels, acc);
  for (int64_t i = 0; i < count; ++i) {
    for (int c = 0; c < kChannels; ++c) acc[c] = __builtin_fmaf(x[i], w[i * kChannels + c], acc[c]);
  }
  std::copy_n(acc, kChannels, total);
}

[[gnu::always_inline]] inline void ChainPairs(const float* w, const uint16_t* x, int64_t count,
                                              float* total) {
  float acc[kChannels];
  std::copy_n(total, kChannels, acc);
  for (int64_t i = 0; i < count; i += 2) {
    const float even = Bf16ToF32(x[i]), odd = Bf16ToF32(x[i + 1]);
    for (int c = 0; c < kChannels; ++c) {
      const float first = __builtin_fmaf(odd, w[(i + 1) * kChannels + c], acc[c]);
      acc[c] = __builtin_fmaf(even, w[i * kChannels + c], first);
    }
  }
  std::copy_n(acc, kChannels, total);
}

// The group walk shared by the float formats. Chunks never cross a group; the last one is padded with
// zero weights to a multiple of 8 (activation rows are padded by contract).
[[gnu::always_inline]] inline void RunFloatRows(const GemmCall& call, const std::byte* panel,
                                                int64_t row, int64_t rows, Tile& t) {
  const WeightSpec& w = *call.weight;
  const ActivationView& x = call.x;
  const Layout layout(w);
  const bool group128 = x.spec.format == ActivationFormat::kFp8Group128;
  const bool weight_groups = w.scales == ScaleLayout::kGroup;
  const bool grouped = group128 || weight_groups;
  const int64_t group = weight_groups ? w.group_size : (group128 ? 128 : w.k);
  const float* scales = At<float>(panel, layout.scales);
  const float* mins = At<float>(panel, layout.mins);
  float weights[kChunk * kChannels];
  for (int64_t begin = 0, g = 0; begin < w.k; begin += group, ++g) {
    const int64_t end = std::min(begin + group, w.k);
    std::memset(t.partial, 0, sizeof t.partial);
    for (int64_t k = begin; k < end; k += kChunk) {
      const int64_t count = std::min(kChunk, end - k);
      const std::byte* codes = panel + layout.codes + k * kChannels * layout.code_bytes;
      Decode(w, codes, count * kChannels, weights);
      const int64_t padded = RoundUp(count, 8);
      std::fill(weights + count * kChannels, weights + padded * kChannels, 0.0f);
      for (int64_t m = 0; m < rows; ++m) {
        if (x.spec.format == ActivationFormat::kF32) {
          ChainF32(weights, x.Row<float>(row + m) + k, count, t.partial[m]);
        } else {
          ChainPairs(weights, x.Row<uint16_t>(row + m) + k, padded, t.partial[m]);
        }
      }
    }
    for (int64_t m = 0; m < rows; ++m) {
      for (int c = 0; c < kChannels; ++c) {
        if (!grouped) {
          t.acc[m][c] = t.partial[m][c];
          continue;
        }
        float scale = weight_groups ? scales[g * kChannels + c] : 1.0f;
        if (group128) scale = x.scales[(row + m) * x.scales_per_row() + g] * scale;
        float acc = g == 0 ? 0.0f : t.acc[m][c];
        acc = __builtin_fmaf(t.partial[m][c], scale, acc);
        if (w.has_min) {
          const float sum = x.group_sums_f32[(row + m) * x.sum_groups() + g];
          acc = __builtin_fmaf(sum, mins[g * kChannels + c], acc);
        }
        t.acc[m][c] = acc;
      }
    }
  }
}

[[gnu::always_inline]] inline void RunIntRows(const GemmCall& call, const std::byte* panel, int64_t row,
                                              int64_t rows, Tile& t) {
  const WeightSpec& w = *call.weight;
  const ActivationView& x = call.x;
  const Layout layout(w);
  const bool two_level = w.scales == ScaleLayout::kTwoLevel;
  const bool unsigned_codes = w.has_min || two_level;
  const bool group32 = x.spec.format == ActivationFormat::kInt8Group32;
  const int64_t group = w.group_size > 0 ? w.group_size : w.k;
  const auto* codes = At<uint8_t>(panel, layout.codes);
  int32_t total[kRowBlock][kChannels] = {};
  for (int64_t begin = 0, g = 0; begin < w.k; begin += group, ++g) {
    const int64_t end = std::min(begin + group, w.k);
    for (int64_t m = 0; m < rows; ++m) {
      const int8_t* q = x.Row<int8_t>(row + m);
      int32_t dot[kChannels] = {};
      for (int64_t k = begin; k < end; ++k) {
        for (int c = 0; c < kChannels; ++c) {
          const uint8_t code = codes[k * kChannels + c];
          const int32_t value = unsigned_codes ? code : static_cast<int8_t>(code);
          dot[c] += q[k] * value;
        }
      }
      const int32_t sum = x.group_sums != nullptr ? x.group_sums[(row + m) * x.sum_groups() + g] : 0;
      const float token_scale = group32 ? x.scales[(row + m) * x.scales_per_row() + begin / 32] : 1.0f;
      for (int c = 0; c < kChannels; ++c) {
        if (two_level) {
          const int32_t zero = At<int32_t>(panel, layout.zeros2)[g * kChannels + c];
          const int32_t scale = At<int32_t>(panel, layout.scales2)[g * kChannels + c];
          total[m][c] += (dot[c] - zero * sum) * scale;
          t.acc[m][c] = static_cast<float>(total[m][c]);
        } else if (w.scales == ScaleLayout::kGroup) {
          float acc = g == 0 ? 0.0f : t.acc[m][c];
          const float scale = At<float>(panel, layout.scales)[g * kChannels + c];
          acc = __builtin_fmaf(static_cast<float>(dot[c]), token_scale * scale, acc);
          if (w.has_min) {
            acc = __builtin_fmaf(static_cast<float>(sum) * token_scale,
                                 At<float>(panel, layout.mins)[g * kChannels + c], acc);
          }
          t.acc[m][c] = acc;
        } else {
          t.acc[m][c] = static_cast<float>(dot[c]);
        }
      }
    }
  }
}

void Epilogue(const GemmCall& call, const std::byte* panel, int64_t row, int64_t rows, int64_t n0,
              const Tile& t) {
  const WeightSpec& w = *call.weight;
  const ActivationView& x = call.x;
  const bool channel = w.scales == ScaleLayout::kChannel || w.scales == ScaleLayout::kTwoLevel;
  const bool token = x.spec.format == ActivationFormat::kInt8 || x.spec.format == ActivationFormat::kFp8;
  const float* scales = At<float>(panel, Layout(w).scales);
  const int channels = static_cast<int>(std::min<int64_t>(kChannels, w.n - n0));
  for (int64_t m = 0; m < rows; ++m) {
    float* out = call.y.out + (row + m) * call.y.row_stride + n0;
    for (int c = 0; c < channels; ++c) {
      float v = t.acc[m][c];
      if (token) v *= x.scales[row + m];
      if (channel) v *= scales[c];
      if (call.y.bias != nullptr) v += call.y.bias[n0 + c];
      out[c] = call.y.accumulate ? out[c] + v : v;
    }
  }
}

[[gnu::always_inline]] inline void RunImpl(const GemmCall& call, int64_t panel_begin,
                                           int64_t panel_end) {
  const int64_t panel_bytes = static_cast<int64_t>(PanelBytes(*call.weight));
  Tile tile;
  for (int64_t p = panel_begin; p < panel_end; ++p) {
    const std::byte* panel = call.packed + p * panel_bytes;
    for (int64_t row = 0; row < call.x.rows; row += kRowBlock) {
      const int64_t rows = std::min<int64_t>(kRowBlock, call.x.rows - row);
      if (IsInt8(call.x.spec.format)) {
        RunIntRows(call, panel, row, rows, tile);
      } else {
        RunFloatRows(call, panel, row, rows, tile);
      }
      Epilogue(call, panel, row, rows, p * kChannels, tile);
    }
  }
}

// fmaf is a library call without the instruction: the same bits, a hundred times slower.
[[gnu::noinline, gnu::target("fma")]] void RunWithFma(const GemmCall& call, int64_t begin, int64_t end) {
  RunImpl(call, begin, end);
}
[[gnu::noinline]] void RunPortable(const GemmCall& call, int64_t begin, int64_t end) {
  RunImpl(call, begin, end);
}

void Run(const GemmCall& call, int64_t panel_begin, int64_t panel_end) {
  constexpr unsigned kFlush = 0x8040;  // FTZ | DAZ
  const ActivationFormat format = call.x.spec.format;
  const bool flush = format != ActivationFormat::kF32 && !IsInt8(format);
  const unsigned mode = _mm_getcsr();
  if (flush) _mm_setcsr(mode | kFlush);
  const bool fma = __builtin_cpu_supports("fma") != 0;
  (fma ? RunWithFma : RunPortable)(call, panel_begin, panel_end);
  if (flush) _mm_setcsr(mode);
}

void Columns(const WeightSpec& w, const std::byte* panel, const uint16_t* columns, int64_t count, float* out) {
  const Layout layout(w);
  const auto* codes = At<int8_t>(panel, layout.codes);
  const auto* scales = At<float>(panel, layout.scales);
  for (int64_t i = 0; i < count; ++i) {
    for (int c = 0; c < kChannels; ++c) {
      const auto code = static_cast<float>(codes[columns[i] * kChannels + c]);
      *out++ = layout.groups > 0 ? code * scales[c] : code;
    }
  }
}

}  // namespace

extern const GemmKernel kGemm_gemm_generic_reference;
const GemmKernel kGemm_gemm_generic_reference = {
    .name = "gemm_generic_reference",
    .isa = IsaLevel::kReference,
    .accepts = Accepts,
    .panel_channels = kChannels,
    .panel_bytes = PanelBytes,
    .pack = Pack,
    .run = Run,
    .columns = Columns,
};

}  // namespace octavo
