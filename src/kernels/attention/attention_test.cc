// SPDX-License-Identifier: Apache-2.0
// Attention and KV pages: against double precision, and equal bits however the work is cut.
#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention/kv_access.h"
#include "kernels/rope_table.h"
#include "kernels/testing.h"

namespace octavo {
namespace {

using testing::RandomNormal;
using testing::RunnableIsaLevels;

constexpr KvDType kAllTypes[] = {KvDType::kF32,     KvDType::kBf16, KvDType::kFp8E4M3,
                                 KvDType::kFp8E5M2, KvDType::kInt8, KvDType::kInt4};
constexpr const char* kTypeNames[] = {"f32", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4"};

struct Shape {
  KvDType dtype = KvDType::kBf16;
  int num_heads = 4, num_kv_heads = 2, head_dim = 64, block_size = 32;
  float softcap = 0;
  int64_t window = 0;
  int rotary_dim = 0;  // above 0: the pages lack a bias
};

// Every type, and the types that can do so with pages that lack a bias, also in a part of the dims.
std::vector<Shape> AllKinds(Shape shape) {
  std::vector<Shape> kinds;
  for (int t = 0; t <= static_cast<int>(KvDType::kInt4); ++t) {
    shape.dtype = static_cast<KvDType>(t);
    shape.rotary_dim = 0;
    kinds.push_back(shape);
    if (!KvHasScales(shape.dtype) || shape.softcap > 0) continue;
    for (const int dim : {shape.head_dim, shape.head_dim / 4 * 2}) {
      shape.rotary_dim = dim;
      kinds.push_back(shape);
    }
  }
  return kinds;
}

std::string Describe(const Shape& s) {
  return std::string(kTypeNames[static_cast<size_t>(s.dtype)]) + " heads " +
         std::to_string(s.num_heads) + "/" + std::to_string(s.num_kv_heads) + " dim " +
         std::to_string(s.head_dim) + " block " + std::to_string(s.block_size) + " window " +
         std::to_string(s.window) + " cap " + std::to_string(s.softcap) + " rotary " +
         std::to_string(s.rotary_dim);
}

// Sequences with random q, k, v and scattered, overlapping-free block tables in one pool.
class Batch {
 public:
  Batch(const Shape& shape, std::vector<int64_t> lengths, uint8_t dirt = 0xff)
      : shape_(shape), lengths_(std::move(lengths)) {
    layout_ = {shape.dtype, shape.num_kv_heads, shape.head_dim, shape.block_size};
    std::vector<int32_t> ids;
    for (const int64_t n : lengths_) {
      for (int64_t b = 0; b * shape.block_size < n; ++b) ids.push_back(static_cast<int32_t>(ids.size()));
    }
    std::shuffle(ids.begin(), ids.end(), std::mt19937(7));
    pool_.assign(layout_.page_bytes() * (ids.size() + 1) + 64, std::byte{dirt});
    pages_ = {.base = pool_.data() + 64 - reinterpret_cast<uintptr_t>(pool_.data()) % 64,
              .block_stride = layout_.page_bytes(), .k_scale = 1.0f, .v_scale = 1.0f};
    if (shape.dtype == KvDType::kFp8E4M3) pages_.k_scale = 0.25f, pages_.v_scale = 0.5f;
    if (shape.rotary_dim > 0) {
      bias_ = RandomNormal(kv_width(), 77);
      for (float& b : bias_) b *= 3;
      rope_ = RopeTable::Create({.rotary_dim = shape.rotary_dim}, kMostPositions).value();
      rope_.Extend(kMostPositions);
    }
    freed_block_ = static_cast<int32_t>(ids.size());
    auto next = ids.begin();
    for (size_t s = 0; s < lengths_.size(); ++s) {
      const int64_t n = lengths_[s];
      const int64_t blocks = (n + shape.block_size - 1) / shape.block_size;
      tables_.emplace_back(next, next + blocks);
      next += blocks;
      const auto seed = static_cast<uint32_t>(n);  // equal lengths: equal sequences
      q_.push_back(RandomNormal(n * q_width(), seed + 1000));
      k_.push_back(RandomNormal(n * kv_width(), seed + 2000));
      v_.push_back(RandomNormal(n * kv_width(), seed + 3000));
      out_.emplace_back(q_.back().size(), std::numeric_limits<float>::quiet_NaN());
    }
  }

  // One step: tokens [from[s], to[s]) of every sequence s, flattened in one call.
  void Step(const std::vector<int64_t>& from, const std::vector<int64_t>& to, IsaLevel isa,
            ThreadPool& pool) {
    std::vector<SequenceSlice> slices;
    std::vector<float> q, k, v;
    for (size_t s = 0; s < lengths_.size(); ++s) {
      slices.push_back({.row_begin = static_cast<int64_t>(q.size()) / q_width(),
                        .num_tokens = to[s] - from[s], .position = from[s],
                        .block_table = tables_[s].data()});
      Append(q, q_[s], from[s], to[s], q_width());
      Append(k, k_[s], from[s], to[s], kv_width());
      Append(v, v_[s], from[s], to[s], kv_width());
    }
    std::vector<float> out(q.size());
    WriteKv(layout_, pages_, slices, k.data(), v.data(), kv_width(), isa, pool);
    Attend(layout_, pages_, params(),
           {.sequences = slices, .q = q.data(), .q_stride = q_width(), .out = out.data(),
            .out_stride = q_width()},
           isa, pool);
    for (size_t s = 0; s < lengths_.size(); ++s) {
      std::copy_n(out.begin() + slices[s].row_begin * q_width(), (to[s] - from[s]) * q_width(),
                  out_[s].begin() + from[s] * q_width());
    }
  }

  // All sequences in steps of `chunk` tokens.
  void Run(int64_t chunk, IsaLevel isa, ThreadPool& pool) {
    const int64_t longest = *std::max_element(lengths_.begin(), lengths_.end());
    for (int64_t at = 0; at < longest; at += chunk) {
      std::vector<int64_t> from, to;
      for (const int64_t n : lengths_) {
        from.push_back(std::min(at, n));
        to.push_back(std::min(at + chunk, n));
      }
      Step(from, to, isa, pool);
    }
  }

  // Points the table of sequence s to a block of former contents where all tokens lie before `token`.
  void FreeBlocksBefore(size_t s, int64_t token) {
    for (int64_t b = 0; (b + 1) * shape_.block_size <= token; ++b) {
      tables_[s][static_cast<size_t>(b)] = freed_block_;
    }
  }

  // Attention of sequence s in double precision over the numbers that the pages hold.
  std::vector<double> Exact(size_t s) const {
    std::vector<double> result;
    const int group = shape_.num_heads / shape_.num_kv_heads;
    std::vector<Matrix> k(static_cast<size_t>(shape_.num_kv_heads)), v = k;
    for (int64_t i = 0; i < lengths_[s]; ++i) {
      for (int h = 0; h < shape_.num_kv_heads; ++h) {
        k[static_cast<size_t>(h)].push_back(WholeKey(s, i, h));
        v[static_cast<size_t>(h)].push_back(Stored(s, i, h, false));
      }
      for (int h = 0; h < shape_.num_heads; ++h) {
        const float* q = &q_[s][static_cast<size_t>(i * q_width() + h * shape_.head_dim)];
        const auto kv_head = static_cast<size_t>(h / group);
        const std::vector<double> o = ExactRow(q, k[kv_head], v[kv_head]);
        result.insert(result.end(), o.begin(), o.end());
      }
    }
    return result;
  }

  // Token `token` of head `head` as the page holds it.
  std::vector<double> Stored(size_t s, int64_t token, int head, bool key) const {
    const KvHeadBlock block = BlockOf(s, token, head);
    const int slot = static_cast<int>(token % shape_.block_size);
    const KvScale scale = key ? block.KScale(slot) : block.VScale(slot);
    const double factor = key ? pages_.k_scale : pages_.v_scale;
    std::vector<double> x;
    for (int d = 0; d < shape_.head_dim; ++d) {
      const double code = key ? block.K(slot, d) : block.V(slot, d);
      x.push_back((code - scale.zero) * scale.scale * factor);
    }
    return x;
  }

  AttentionParams params() const {
    AttentionParams params{.num_heads = shape_.num_heads,
            .softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)),
            .softcap = shape_.softcap, .window = shape_.window};
    if (shape_.rotary_dim > 0) {
      params.key_offset = {bias_.data(), rope_.Cos(0), rope_.near_angles(), shape_.rotary_dim};
    }
    return params;
  }
  int64_t q_width() const { return int64_t{shape_.num_heads} * shape_.head_dim; }
  int64_t kv_width() const { return int64_t{shape_.num_kv_heads} * shape_.head_dim; }
  const std::vector<float>& out(size_t s) const { return out_[s]; }
  const std::vector<float>& k(size_t s) const { return k_[s]; }
  const std::vector<float>& v(size_t s) const { return v_[s]; }

 private:
  static constexpr int64_t kMostPositions = 1200;
  using Matrix = std::vector<std::vector<double>>;  // [token][dim]

  static void Append(std::vector<float>& to, const std::vector<float>& from, int64_t begin,
                     int64_t end, int64_t width) {
    to.insert(to.end(), from.begin() + begin * width, from.begin() + end * width);
  }

  // What the page holds and the rotated bias.
  std::vector<double> WholeKey(size_t s, int64_t token, int head) const {
    std::vector<double> k = Stored(s, token, head, true);
    const float* b = bias_.data() + head * shape_.head_dim;
    const auto half = static_cast<size_t>(shape_.rotary_dim) / 2;
    for (size_t i = 0; i < half; ++i) {
      const double c = rope_.Cos(token)[i], sin = rope_.Sin(token)[i];
      k[i] += b[i] * c - b[i + half] * sin;
      k[i + half] += b[i + half] * c + b[i] * sin;
    }
    return k;
  }

  KvHeadBlock BlockOf(size_t s, int64_t token, int head) const {
    const auto id = static_cast<size_t>(tables_[s][static_cast<size_t>(token / shape_.block_size)]);
    return {layout_, pages_.base + id * pages_.block_stride +
                         static_cast<size_t>(head) * layout_.head_bytes()};
  }

  // The last token's row, given the keys and values up to it.
  std::vector<double> ExactRow(const float* q, const Matrix& k, const Matrix& v) const {
    const auto n = static_cast<int64_t>(k.size());
    const int64_t first = shape_.window > 0 ? std::max<int64_t>(0, n - shape_.window) : 0;
    std::vector<double> o(static_cast<size_t>(shape_.head_dim)), scores;
    for (int64_t j = first; j < n; ++j) {
      double dot = 0;
      for (size_t d = 0; d < o.size(); ++d) {
        dot += k[static_cast<size_t>(j)][d] *
               (shape_.dtype == KvDType::kF32 ? q[d] : RoundToBf16(q[d]));
      }
      dot /= std::sqrt(static_cast<double>(shape_.head_dim));
      if (shape_.softcap > 0) dot = shape_.softcap * std::tanh(dot / shape_.softcap);
      scores.push_back(dot);
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (int64_t j = first; j < n; ++j) {
      const double p = std::exp(scores[static_cast<size_t>(j - first)] - max);
      for (size_t d = 0; d < o.size(); ++d) o[d] += p * v[static_cast<size_t>(j)][d];
      sum += p;
    }
    for (double& x : o) x /= sum;
    return o;
  }

  Shape shape_;
  std::vector<int64_t> lengths_;
  KvLayout layout_;
  std::vector<std::byte> pool_;
  KvPages pages_;
  std::vector<std::vector<int32_t>> tables_;
  int32_t freed_block_ = 0;  // never written
  std::vector<float> bias_;
  RopeTable rope_;
  std::vector<std::vector<float>> q_, k_, v_, out_;
};

void ExpectEqualBits(const std::vector<float>& got, const std::vector<float>& want,
                     const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << what << " at " << i << ": " << got[i] << " vs " << want[i];
  }
}

// AMX sums 32 products in an order of its own. That moves f32 sums by their last bits, and where a
// weight lies at the edge between two bf16 values, the output by 2^-8 of that weight's share.
void ExpectClose(const std::vector<float>& got, const std::vector<float>& want,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  EXPECT_LT(std::sqrt(error / norm), 2e-4) << what;
}

// Shapes that cover padding (8, 80, 96), odd groups, block sizes, windows and soft caps.
const Shape kShapes[] = {
    {.num_heads = 8, .num_kv_heads = 4, .head_dim = 8, .block_size = 16},
    {.num_heads = 6, .num_kv_heads = 1, .head_dim = 128},
    {.num_heads = 14, .num_kv_heads = 2, .head_dim = 64, .window = 40},
    {.num_heads = 2, .num_kv_heads = 2, .head_dim = 80, .block_size = 64, .softcap = 5.0f},
    {.num_heads = 3, .num_kv_heads = 1, .head_dim = 96, .block_size = 256, .window = 300},
    {.num_heads = 2, .num_kv_heads = 1, .head_dim = 256, .softcap = 50.0f, .window = 17},
};

TEST(WriteKvTest, StoresValuesWithinHalfAStep) {
  ThreadPool pool(1);
  for (Shape shape : kShapes) {
    for (const KvDType dtype : kAllTypes) {
      shape.dtype = dtype;
      Batch batch(shape, {75});
      batch.Run(20, IsaLevel::kReference, pool);
      for (int64_t t = 0; t < 75; t += 11) {
        for (const bool key : {true, false}) {
          const int head = shape.num_kv_heads - 1;
          const std::vector<double> got = batch.Stored(0, t, head, key);
          const float* x = &(key ? batch.k(0) : batch.v(0))[static_cast<size_t>(
              t * batch.kv_width() + head * shape.head_dim)];
          const auto [low, high] = std::minmax_element(x, x + shape.head_dim);
          const double range = std::max(*high, 0.0f) - std::min(*low, 0.0f);
          for (int d = 0; d < shape.head_dim; ++d) {
            double tolerance = 0;
            switch (dtype) {
              case KvDType::kF32: break;
              case KvDType::kBf16: tolerance = std::abs(x[d]) * 0x1p-8; break;
              case KvDType::kFp8E4M3: tolerance = std::abs(x[d]) * 0x1p-4 + 0x1p-11; break;
              case KvDType::kFp8E5M2: tolerance = std::abs(x[d]) * 0x1p-3 + 0x1p-17; break;
              // Half a step, and at the ends of the range what rounding the scale to f16 shifts.
              case KvDType::kInt8: tolerance = range / 254 * 0.65; break;
              case KvDType::kInt4: tolerance = range / 15 * 0.52; break;
            }
            ASSERT_NEAR(got[static_cast<size_t>(d)], x[d], tolerance) << Describe(shape);
          }
        }
      }
    }
  }
}

TEST(AttentionTest, MatchesDoublePrecision) {
  ThreadPool pool(2);
  for (const Shape& plain : kShapes) {
    for (const Shape& shape : AllKinds(plain)) {
      const KvDType dtype = shape.dtype;
      // With a bias of three times the keys, its products and angles are rounded to bf16, too.
      const double more = shape.rotary_dim > 0 ? 2 : 1;
      Batch batch(shape, {1, 33, 310});
      batch.Run(300, DetectedIsa(), pool);
      for (size_t s = 0; s < 3; ++s) {
        const std::vector<double> want = batch.Exact(s);
        double error = 0, norm = 0;
        for (size_t i = 0; i < want.size(); ++i) {
          // f32: sums of ~300 terms. Others: each weight is rounded to bf16 (2^-9 relative), so an
          // output moves by at most 2^-8 of the largest |v| (about 5 here).
          const double tolerance = dtype == KvDType::kF32 ? 1e-5 : 5 * 0x1p-8 * more;
          ASSERT_NEAR(batch.out(s)[i], want[i], tolerance) << Describe(shape) << " at " << i;
          error += (batch.out(s)[i] - want[i]) * (batch.out(s)[i] - want[i]);
          norm += want[i] * want[i];
        }
        // Rounding errors of the weights are independent: far smaller together.
        EXPECT_LT(std::sqrt(error / norm), dtype == KvDType::kF32 ? 2e-6 : 2.5e-3 * more) << Describe(shape);
      }
    }
  }
}

TEST(AttentionTest, LevelsGiveEqualBits) {
  ThreadPool pool(2);
  for (const Shape& plain : kShapes) {
    for (const Shape& shape : AllKinds(plain)) {
      const KvDType dtype = shape.dtype;
      Batch want(shape, {5, 290});
      want.Run(290, IsaLevel::kReference, pool);
      for (const IsaLevel isa : RunnableIsaLevels()) {
        if (isa == IsaLevel::kReference) continue;
        Batch got(shape, {5, 290});
        got.Run(290, isa, pool);
        const std::string what = std::string(NameOf(isa)) + " " + Describe(shape);
        for (size_t s = 0; s < 2; ++s) {
          if (isa < IsaLevel::kAmx || dtype == KvDType::kF32) {
            ExpectEqualBits(got.out(s), want.out(s), what);
          } else {
            ExpectClose(got.out(s), want.out(s), what);
          }
        }
      }
    }
  }
}

// One prompt whole, in pieces and token by token; alone and with others; on one thread and on three:
// the same bits on every path, and the pages' former contents do not matter. On each kernel.
void ExpectSameBitsHoweverCut(const Shape& shape, IsaLevel isa) {
  ThreadPool one(1), three(3);
  constexpr int64_t kLength = 1100;  // five chunks: ranges of chunks are split over threads
  const std::string what = std::string(NameOf(isa)) + " " + Describe(shape);
  Batch whole(shape, {kLength});  // former contents 0xff: NaN codes
  whole.Run(kLength, isa, one);
  Batch pieces(shape, {kLength}, 0x00);
  pieces.Run(97, isa, three);
  ExpectEqualBits(pieces.out(0), whole.out(0), what + " in pieces");
  Batch batched(shape, {70, kLength, 3, 400}, 0x7f);
  batched.Run(256, isa, three);
  ExpectEqualBits(batched.out(1), whole.out(0), what + " batched");
  Batch single(shape, {kLength}, 0xc1);
  single.Run(1, isa, one);
  ExpectEqualBits(single.out(0), whole.out(0), what + " token by token");
}

TEST(AttentionTest, BitsDoNotDependOnTheBatch) {
  for (const Shape& plain : {kShapes[1], kShapes[2], kShapes[3]}) {
    for (const Shape& shape : AllKinds(plain)) {
      if (shape.dtype != KvDType::kBf16 && shape.head_dim != 128) continue;
      ExpectSameBitsHoweverCut(shape, DetectedIsa());
    }
  }
}

TEST(AttentionTest, BitsDoNotDependOnTheBatchOnAnyLevel) {
  Shape shape{.num_heads = 3, .num_kv_heads = 1, .head_dim = 16, .block_size = 16};
  for (const IsaLevel isa : RunnableIsaLevels()) ExpectSameBitsHoweverCut(shape, isa);
}

TEST(AttentionTest, ReusedBlocksLeakNothing) {
  ThreadPool pool(1);
  for (Shape shape : {kShapes[0], kShapes[4]}) {
    for (const KvDType dtype : kAllTypes) {
      shape.dtype = dtype;
      // NaN codes in every type, infinities, and large numbers as the former contents.
      Batch clean(shape, {37}, 0x00);
      clean.Run(37, DetectedIsa(), pool);
      for (const auto dirt : std::initializer_list<uint8_t>{0xff, 0x7f, 0x7c, 0x55}) {
        Batch dirty(shape, {37}, dirt);
        dirty.Run(5, DetectedIsa(), pool);
        ExpectEqualBits(dirty.out(0), clean.out(0), Describe(shape));
      }
    }
  }
}

TEST(AttentionTest, BlocksThatLeftTheWindowAreNotRead) {
  ThreadPool pool(1);
  constexpr int64_t kLength = 330, kStep = 7;
  for (const int block_size : {16, 32, 64}) {
    for (const KvDType dtype : kAllTypes) {
      const Shape shape{.dtype = dtype, .block_size = block_size, .window = 40};
      Batch kept(shape, {kLength}), freed(shape, {kLength});
      kept.Run(kLength, DetectedIsa(), pool);
      for (int64_t at = 0; at < kLength; at += kStep) {
        freed.FreeBlocksBefore(0, at - shape.window + 1);
        freed.Step({at}, {std::min(at + kStep, kLength)}, DetectedIsa(), pool);
      }
      ExpectEqualBits(freed.out(0), kept.out(0), Describe(shape));
    }
  }
}

TEST(AttentionTest, ExtremeInputsStayInTheirRow) {
  ThreadPool pool(1);
  for (const KvDType dtype : kAllTypes) {
    const KvLayout layout{dtype, 1, 16, 16};
    std::vector<std::byte> page(layout.page_bytes() + 64);
    std::byte* base = page.data() + 64 - reinterpret_cast<uintptr_t>(page.data()) % 64;
    const int32_t table[] = {0};
    const SequenceSlice slice{.row_begin = 0, .num_tokens = 3, .position = 0, .block_table = table};
    std::vector<float> q(48, 1.0f), k(48, 0.0f), v(48, 2.0f), out(48);
    std::fill_n(q.begin() + 16, 16, std::numeric_limits<float>::quiet_NaN());
    k[3] = 3e38f, k[20] = -1e-42f;
    const KvPages pages{.base = base, .block_stride = layout.page_bytes()};
    WriteKv(layout, pages, {&slice, 1}, k.data(), v.data(), 16, DetectedIsa(), pool);
    Attend(layout, pages, {.num_heads = 1, .softmax_scale = 0.25f},
           {.sequences = {&slice, 1}, .q = q.data(), .q_stride = 16, .out = out.data(), .out_stride = 16},
           DetectedIsa(), pool);
    for (int d = 16; d < 32; ++d) EXPECT_TRUE(std::isnan(out[static_cast<size_t>(d)]));
  }
}

}  // namespace
}  // namespace octavo
