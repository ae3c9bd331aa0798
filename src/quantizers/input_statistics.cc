// SPDX-License-Identifier: Apache-2.0
// Transposes batches of inputs; the lower triangle of X^T X is a GEMM of X^T with blocks of itself.
#include "quantizers/input_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/float16.h"

namespace octavo {
namespace {

// Channels that are transposed together, so that a cache line of x is used whole.
constexpr int64_t kChannels = 32;
// Columns of the Gram matrix per product: of each diagonal block half is computed in vain.
constexpr int64_t kGramBlock = 512;

// X^T as weights: columns of the Gram matrix are its rows.
WeightSpec GramWeights(const ActivationView& x, int64_t n) {
  const bool bf16 = x.spec.format == ActivationFormat::kBf16;
  WeightSpec spec;
  spec.code = bf16 ? CodeType::kBf16 : CodeType::kF32;
  spec.bits = bf16 ? 16 : 32;
  spec.n = n;
  spec.k = x.rows;
  return spec;
}

// X^T as activations: what the kernel of these weights asks for, or nothing would be multiplied.
ActivationSpec GramActivation(const ActivationView& x, IsaLevel isa) {
  const GemmKernel* kernel = FindGemmKernel(GramWeights(x, kGramBlock), x.spec.format, isa);
  return {.format = x.spec.format, .tiles = kernel != nullptr && kernel->reads_tiles};
}

// The values of up to kChannels channels of one row, zeros after them.
void LoadChannels(const ActivationView& x, int64_t row, int64_t first, int64_t count, float* out) {
  if (x.spec.format != ActivationFormat::kBf16) {
    std::copy_n(x.Row<float>(row) + first, count, out);
    std::fill(out + count, out + kChannels, 0.0f);
    return;
  }
  uint16_t bits[kChannels] = {};
  std::copy_n(x.Row<uint16_t>(row) + first, count, bits);
  for (int64_t c = 0; c < kChannels; ++c) out[c] = Bf16ToF32(bits[c]);
}

// Euclidean norms of the rows; 0 where they are not finite, which is refused when all is read (and would not
// sort).
std::vector<float> RowNorms(const ActivationView& x, ThreadPool& pool) {
  std::vector<float> norms(static_cast<size_t>(x.rows));
  pool.ParallelFor(x.rows, 1, [&](int64_t begin, int64_t end, int) {
    float values[kChannels];
    for (int64_t row = begin; row < end; ++row) {
      float squares[kChannels] = {};
      for (int64_t first = 0; first < x.cols; first += kChannels) {
        LoadChannels(x, row, first, std::min(kChannels, x.cols - first), values);
        for (int64_t c = 0; c < kChannels; ++c) squares[c] += values[c] * values[c];
      }
      const float sum = std::accumulate(squares, squares + kChannels, 0.0f);
      norms[static_cast<size_t>(row)] = std::isfinite(sum) ? std::sqrt(sum) : 0.0f;
    }
  });
  return norms;
}

// The factors that bring rows down to `norm_limit` times the median; empty where no row exceeds it.
std::vector<float> RowFactors(const ActivationView& x, float norm_limit, ThreadPool& pool) {
  std::vector<float> norms = RowNorms(x, pool);
  std::vector<float> sorted = norms;
  const auto middle = sorted.begin() + std::ssize(sorted) / 2;
  std::nth_element(sorted.begin(), middle, sorted.end());
  const float limit = norm_limit * *middle;
  if (!(limit > 0) || std::ranges::none_of(norms, [&](float norm) { return norm > limit; })) return {};
  for (float& norm : norms) norm = norm > limit ? limit / norm : 1.0f;
  return norms;
}

}  // namespace

float InputStatistics::MaxAbs() const {
  return absmax.empty() ? 0 : *std::max_element(absmax.begin(), absmax.end());
}

Result<InputObserver> InputObserver::Create(int64_t k, bool with_gram, double norm_limit) {
  InputObserver observer;
  observer.norm_limit_ = static_cast<float>(norm_limit);
  InputStatistics& statistics = observer.statistics_;
  statistics.k = k;
  statistics.absmax.resize(static_cast<size_t>(k));
  statistics.abs_sum.resize(static_cast<size_t>(k));
  if (!with_gram) return observer;
  const size_t bytes = static_cast<size_t>(k * k) * sizeof(float);
  OCTAVO_ASSIGN_OR_RETURN(statistics.gram, AlignedBuffer::Allocate(bytes));
  std::memset(statistics.gram.data(), 0, bytes);
  return observer;
}

Status InputObserver::Add(const ActivationView& x, MatrixProduct& product) {
  if (x.spec.format != ActivationFormat::kBf16 && x.spec.format != ActivationFormat::kF32) {
    return Internal(fmt::format("calibration met {} activations", NameOf(x.spec.format)));
  }
  InputStatistics& s = statistics_;
  const bool gram = s.has_gram();
  if (gram) {
    OCTAVO_RETURN_IF_ERROR(transposed_.Reserve(GramActivation(x, product.isa()), s.k, x.rows));
  }
  std::vector<float> factors;
  if (gram && norm_limit_ > 0 && x.rows > 0) factors = RowFactors(x, norm_limit_, product.pool());
  product.pool().ParallelFor(s.k, kChannels, [&](int64_t begin, int64_t end, int) {
    // Not a power of two: columns of a tile must not share cache sets.
    const int64_t stride = x.rows + 16;
    std::vector<float> tile(static_cast<size_t>(kChannels * stride));
    for (int64_t first = begin; first < end; first += kChannels) {
      const int64_t count = std::min(kChannels, end - first);
      // Channels side by side: each is a chain of its own, in the order of its rows.
      float values[kChannels], max[kChannels] = {};
      double sum[kChannels] = {};
      for (int64_t row = 0; row < x.rows; ++row) {
        LoadChannels(x, row, first, count, values);
        for (int64_t c = 0; c < kChannels; ++c) {
          const float a = std::fabs(values[c]);
          max[c] = std::max(max[c], a);
          sum[c] += static_cast<double>(a);
        }
        const float factor = factors.empty() ? 1.0f : factors[static_cast<size_t>(row)];
        float* to = tile.data() + row;
        for (int64_t c = 0; c < kChannels; ++c) to[c * stride] = values[c] * factor;
      }
      for (int64_t c = 0; c < count; ++c) {
        const auto at = static_cast<size_t>(first + c);
        s.absmax[at] = std::max(s.absmax[at], max[c]);
        s.abs_sum[at] += sum[c];
        if (gram) transposed_.EncodeRow(first + c, tile.data() + c * stride);
      }
    }
  });
  s.num_tokens += x.rows;
  return gram ? AddGram(x, product) : Status::Ok();
}

Status InputObserver::AddGram(const ActivationView& x, MatrixProduct& product) {
  const ActivationView& xt = transposed_.view();
  WeightSpec spec = GramWeights(x, kGramBlock);
  const auto row_bytes = static_cast<size_t>(spec.k * spec.code_bytes());
  auto* gram = statistics_.gram.As<float>();
  for (int64_t block = 0; block < statistics_.k; block += kGramBlock) {
    spec.n = std::min(kGramBlock, statistics_.k - block);
    const auto rows = [&](int64_t begin, int64_t count, WeightRows& to) {
      for (int64_t row = 0; row < count; ++row) {
        const auto* from = static_cast<const uint8_t*>(xt.data) +
                           (block + begin + row) * xt.row_stride * spec.code_bytes();
        std::memcpy(to.codes.data() + static_cast<size_t>(row) * row_bytes, from, row_bytes);
      }
      return Status::Ok();
    };
    HugeBuffer& memory = product.operand_memory();
    OCTAVO_ASSIGN_OR_RETURN(
        PackedWeight packed, PackedWeight::Pack({{.spec = spec, .format = x.spec.format, .rows = rows}},
                                                product.isa(), product.pool(), std::move(memory)));
    packed.Multiply(xt.Slice(block, statistics_.k - block),
                    {.out = gram + block * statistics_.k + block,
                     .row_stride = statistics_.k,
                     .bias = nullptr,
                     .accumulate = true},
                    product.pool());
    memory = std::move(packed).TakeMemory();
  }
  return Status::Ok();
}

InputStatistics InputObserver::Take() {
  if (statistics_.has_gram()) {
    auto* gram = statistics_.gram.As<float>();
    const int64_t k = statistics_.k;
    constexpr int64_t kTile = 64;  // the mirror image of a tile is read along its rows
    for (int64_t top = 0; top < k; top += kTile) {
      for (int64_t left = top; left < k; left += kTile) {
        for (int64_t row = top; row < std::min(top + kTile, k); ++row) {
          for (int64_t col = std::max(left, row + 1); col < std::min(left + kTile, k); ++col) {
            gram[row * k + col] = gram[col * k + row];
          }
        }
      }
    }
  }
  return std::move(statistics_);
}

}  // namespace octavo
