// SPDX-License-Identifier: Apache-2.0
// Rounds K and V to the page type and scatters them into pages. One portable source for all levels.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/float16.h"
#include "kernels/attention/attention.h"

namespace octavo {
namespace {

// Head vectors of up to 256 dims, as codes in the low bits.
using Codes = std::array<uint32_t, 256>;

struct ScaleBits {
  uint16_t scale = 0, zero = 0;  // f16
};

// Rounds to nearest even; |x| < 2^22. Unlike lrint this is inlined.
int32_t RoundToInt(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return std::bit_cast<int32_t>(x + kMagic) - std::bit_cast<int32_t>(kMagic);
}

// Codes low .. low + steps with a scale and zero over the range of x and 0. The scale is rounded up
// to eight significant bits, so that as a bf16 factor of a softmax weight it is exact.
ScaleBits EncodeInteger(const float* x, int count, int low, int steps, Codes& codes) {
  float min = 0.0f, max = 0.0f;
  for (int d = 0; d < count; ++d) {
    min = std::min(min, x[d]);
    max = std::max(max, x[d]);
  }
  ScaleBits bits;
  const uint16_t nearest = F32ToF16((max - min) / static_cast<float>(steps));
  bits.scale = static_cast<uint16_t>((nearest + 7) & 0xfff8);
  if (bits.scale == 0 && max > min) bits.scale = 8;  // the smallest
  const float scale = F16ToF32(bits.scale);
  if (bits.scale != 0) bits.zero = F32ToF16(static_cast<float>(low) - min / scale);
  const float zero = F16ToF32(bits.zero);
  const auto bottom = static_cast<float>(low), top = static_cast<float>(low + steps);
  for (int d = 0; d < count; ++d) {
    const float exact = bits.scale == 0 ? 0.0f : x[d] / scale + zero;
    const float bounded = exact > bottom ? (exact < top ? exact : top) : bottom;  // NaN: bottom
    codes[static_cast<size_t>(d)] = static_cast<uint32_t>(RoundToInt(bounded));
  }
  return bits;
}

// Encodes one head vector. `inverse_scale` is the reciprocal of an fp8 scale.
ScaleBits Encode(KvDType dtype, const float* x, int count, float inverse_scale, Codes& codes) {
  switch (dtype) {
    case KvDType::kF32:
      std::memcpy(codes.data(), x, static_cast<size_t>(count) * sizeof(float));
      break;
    case KvDType::kBf16:
      for (int d = 0; d < count; ++d) codes[static_cast<size_t>(d)] = F32ToBf16(x[d]);
      break;
    case KvDType::kFp8E4M3:
      for (int d = 0; d < count; ++d) codes[static_cast<size_t>(d)] = F32ToE4M3(x[d] * inverse_scale);
      break;
    case KvDType::kFp8E5M2:
      for (int d = 0; d < count; ++d) codes[static_cast<size_t>(d)] = F32ToE5M2(x[d] * inverse_scale);
      break;
    case KvDType::kInt8: return EncodeInteger(x, count, -127, 254, codes);
    case KvDType::kInt4: {
      const ScaleBits bits = EncodeInteger(x, count, -8, 15, codes);
      for (int d = 0; d < count; ++d) codes[static_cast<size_t>(d)] += 8;
      return bits;
    }
  }
  return {};
}

template <KvDType kType>
void StoreCode(std::byte* part, KvPlace place, uint32_t code) {
  std::byte* p = part + place.byte;
  if constexpr (kType == KvDType::kF32) {
    std::memcpy(p, &code, 4);
  } else if constexpr (kType == KvDType::kBf16) {
    const auto bits = static_cast<uint16_t>(code);
    std::memcpy(p, &bits, 2);
  } else if constexpr (kType == KvDType::kInt4) {
    const std::byte kept = *p & std::byte(0xf0 >> place.shift);
    *p = kept | std::byte(static_cast<uint8_t>((code & 15) << place.shift));
  } else {
    *p = std::byte(static_cast<uint8_t>(code));
  }
}

// Consecutive tokens of one sequence that fall into one block, for one KV head.
struct BlockRun {
  std::byte* head = nullptr;
  int slot_begin = 0, slot_end = 0;
  const float* k = nullptr;  // of the first token
  const float* v = nullptr;
  int64_t stride = 0;
};

template <KvDType kType>
void WriteRun(const KvLayout& layout, const KvPages& pages, const BlockRun& run) {
  const int dims = layout.padded_head_dim();
  std::byte* v_part = run.head + layout.part_bytes();
  std::byte* scales = v_part + layout.part_bytes();
  // A block opened here and not filled: its other slots must read as zeros, whatever they held.
  if (run.slot_begin == 0 && run.slot_end < layout.block_size) {
    std::memset(run.head, 0, layout.head_bytes());
  }
  Codes codes{};
  for (int slot = run.slot_begin; slot < run.slot_end; ++slot) {
    const int64_t at = (slot - run.slot_begin) * run.stride;
    const ScaleBits k = Encode(kType, run.k + at, layout.head_dim, 1.0f / pages.k_scale, codes);
    for (int d = 0; d < dims; ++d) {
      StoreCode<kType>(run.head, KvPlaceOf(kType, slot, d, dims), codes[static_cast<size_t>(d)]);
    }
    const ScaleBits v = Encode(kType, run.v + at, layout.head_dim, 1.0f / pages.v_scale, codes);
    for (int d = 0; d < dims; ++d) {
      StoreCode<kType>(v_part, KvPlaceOf(kType, d, slot, layout.block_size),
                       codes[static_cast<size_t>(d)]);
    }
    if constexpr (KvHasScales(kType)) {
      const uint16_t bits[4] = {k.scale, k.zero, v.scale, v.zero};
      for (size_t i = 0; i < 4; ++i) {
        std::memcpy(scales + i * layout.scales_bytes() + 2 * slot, &bits[i], 2);
      }
    }
  }
}

using WriteRunFn = void (*)(const KvLayout&, const KvPages&, const BlockRun&);

WriteRunFn WriterOf(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32: return WriteRun<KvDType::kF32>;
    case KvDType::kBf16: return WriteRun<KvDType::kBf16>;
    case KvDType::kFp8E4M3: return WriteRun<KvDType::kFp8E4M3>;
    case KvDType::kFp8E5M2: return WriteRun<KvDType::kFp8E5M2>;
    case KvDType::kInt8: return WriteRun<KvDType::kInt8>;
    case KvDType::kInt4: return WriteRun<KvDType::kInt4>;
  }
  return nullptr;
}

// Blocks that the tokens of this step touch.
int64_t TouchedBlocks(const SequenceSlice& s, int block_size) {
  if (s.num_tokens <= 0) return 0;
  return (s.position + s.num_tokens - 1) / block_size - s.position / block_size + 1;
}

}  // namespace

void WriteKv(const KvLayout& layout, const KvPages& pages, std::span<const SequenceSlice> sequences,
             const float* k, const float* v, int64_t kv_stride, IsaLevel /*isa*/, ThreadPool& pool) {
  const WriteRunFn write = WriterOf(layout.dtype);
  const int block_size = layout.block_size;
  int64_t total = 0;
  for (const SequenceSlice& s : sequences) total += TouchedBlocks(s, block_size);
  total *= layout.num_kv_heads;

  // Items count (sequence, block, head) in this order. A block's head belongs to one item, so that
  // two tokens that share a byte (int4) are never written at once.
  pool.ParallelFor(total, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    int64_t item = 0;
    for (const SequenceSlice& s : sequences) {
      const int64_t items = TouchedBlocks(s, block_size) * layout.num_kv_heads;
      const int64_t first = std::max(begin, item), last = std::min(end, item + items);
      for (int64_t i = first; i < last; ++i) {
        const int64_t block = s.position / block_size + (i - item) / layout.num_kv_heads;
        const int64_t head = (i - item) % layout.num_kv_heads;
        const int64_t from = std::max(s.position, block * block_size);
        const int64_t to = std::min(s.position + s.num_tokens, (block + 1) * block_size);
        const int64_t at = (s.row_begin + from - s.position) * kv_stride + head * layout.head_dim;
        const auto id = static_cast<size_t>(s.block_table[block]);
        write(layout, pages,
              {.head = pages.base + id * pages.block_stride +
                       static_cast<size_t>(head) * layout.head_bytes(),
               .slot_begin = static_cast<int>(from - block * block_size),
               .slot_end = static_cast<int>(to - block * block_size),
               .k = k + at,
               .v = v + at,
               .stride = kv_stride});
      }
      item += items;
    }
  });
}

}  // namespace octavo
