// SPDX-License-Identifier: Apache-2.0
// Paley's constructions and Kronecker products by their factors.
#include "quantizers/hadamard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace octavo {
namespace {

constexpr int64_t kLargestBlock = 512;  // costs order operations per element

bool IsPrime(int64_t n) {
  if (n < 2) return false;
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return true;
}

// The quadratic character modulo the prime q: 0, 1 for squares, -1 for others; chi[a] for 0 <= a < q.
std::vector<double> QuadraticCharacter(int64_t q) {
  std::vector<double> chi(static_cast<size_t>(q), -1.0);
  for (int64_t a = 1; a < q; ++a) chi[static_cast<size_t>(a * a % q)] = 1.0;
  chi[0] = 0.0;
  return chi;
}

// The bordered Jacobsthal matrix [q + 1, q + 1]: 0 in the corner, `row` and `column` along the border,
// chi(i - j) inside.
std::vector<double> Bordered(int64_t q, double row, double column) {
  const std::vector<double> chi = QuadraticCharacter(q);
  const int64_t n = q + 1;
  std::vector<double> values(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double& value = values[static_cast<size_t>(i * n + j)];
      if (i == 0 && j == 0) continue;
      if (i == 0) {
        value = row;
      } else if (j == 0) {
        value = column;
      } else {
        value = chi[static_cast<size_t>(((i - j) % q + q) % q)];
      }
    }
  }
  return values;
}

std::vector<double> PaleyFirst(int64_t order) {
  std::vector<double> h = Bordered(order - 1, 1.0, -1.0);
  for (int64_t i = 0; i < order; ++i) h[static_cast<size_t>(i * order + i)] += 1.0;
  return h;
}

// Zeros of the symmetric conference matrix become [1 -1; -1 -1], +-1 become +-[1 1; 1 -1].
std::vector<double> PaleySecond(int64_t order) {
  const int64_t half = order / 2;
  const std::vector<double> conference = Bordered(half - 1, 1.0, 1.0);
  std::vector<double> h(static_cast<size_t>(order * order));
  for (int64_t i = 0; i < order; ++i) {
    for (int64_t j = 0; j < order; ++j) {
      const double c = conference[static_cast<size_t>(i / 2 * half + j / 2)];
      const bool low_right = i % 2 == 1 && j % 2 == 1;
      double value = low_right ? -c : c;
      if (c == 0) value = i % 2 == 0 && j % 2 == 0 ? 1.0 : -1.0;
      h[static_cast<size_t>(i * order + j)] = value;
    }
  }
  return h;
}

bool HasPaley(int64_t order) {
  return (IsPrime(order - 1) && (order - 1) % 4 == 3) ||
         (order % 2 == 0 && IsPrime(order / 2 - 1) && (order / 2 - 1) % 4 == 1);
}

// The smallest Paley order odd * 2^i with i <= twos; 0 when there is none.
int64_t PaleyOrder(int64_t odd, int64_t twos) {
  int64_t order = odd;
  for (int64_t i = 0; i <= twos && order <= kLargestBlock; ++i, order *= 2) {
    if (i >= 2 && HasPaley(order)) return order;
  }
  return 0;
}

int64_t TwosOf(int64_t n) {
  int64_t twos = 0;
  for (; n % 2 == 0; n /= 2) ++twos;
  return twos;
}

// The DCT-II matrix with orthonormal columns, times sqrt(order) as a Hadamard matrix is.
std::vector<double> Dct(int64_t order) {
  std::vector<double> values(static_cast<size_t>(order * order));
  const auto n = static_cast<double>(order);
  for (int64_t i = 0; i < order; ++i) {
    for (int64_t j = 0; j < order; ++j) {
      const double angle =
          std::numbers::pi * (static_cast<double>(i) + 0.5) * static_cast<double>(j) / n;
      values[static_cast<size_t>(i * order + j)] =
          j == 0 ? 1.0 : std::numbers::sqrt2 * std::cos(angle);
    }
  }
  return values;
}

// Signs from the top bit of SplitMix64, Steele, Lea and Flood, 2014.
std::vector<double> Signs(int64_t size) {
  std::vector<double> signs;
  uint64_t state = static_cast<uint64_t>(size);
  for (int64_t i = 0; i < size; ++i) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    signs.push_back(((z ^ (z >> 31)) >> 63) != 0 ? -1.0 : 1.0);
  }
  return signs;
}

}  // namespace

std::vector<double> PaleyHadamard(int64_t order) {
  if (order < 4 || order % 4 != 0 || !HasPaley(order)) return {};
  return IsPrime(order - 1) && (order - 1) % 4 == 3 ? PaleyFirst(order) : PaleySecond(order);
}

Rotation::Rotation(int64_t size, bool with_signs)
    : size_(size), power_of_two_(int64_t{1} << TwosOf(size)),
      factor_(1.0 / std::sqrt(static_cast<double>(size))) {
  if (with_signs) signs_ = Signs(size);
  AddBlocks(size / power_of_two_);
}

// Takes one block for all of `odd`, else one per divisor as long as powers of two are left for it.
void Rotation::AddBlocks(int64_t odd) {
  while (odd > 1) {
    int64_t part = odd;
    int64_t order = PaleyOrder(part, TwosOf(power_of_two_));
    for (int64_t divisor = 3; order == 0 && divisor * divisor <= odd; divisor += 2) {
      if (odd % divisor != 0) continue;
      part = odd / divisor;
      order = PaleyOrder(part, TwosOf(power_of_two_));
    }
    if (order == 0) {
      blocks_.push_back({.order = odd, .hadamard = false, .values = Dct(odd)});
      return;
    }
    blocks_.push_back({.order = order, .hadamard = true, .values = PaleyHadamard(order)});
    power_of_two_ /= order / part;
    odd /= part;
  }
}

// One factor after the other, each along its own stride: (A x B) x = A along the outer index, B along
// the inner one.
void Rotation::Apply(double* x, std::vector<double>& scratch) const {
  for (size_t i = 0; i < signs_.size(); ++i) x[i] *= signs_[i];
  for (int64_t width = 1; width < power_of_two_; width *= 2) {
    for (int64_t begin = 0; begin < size_; begin += 2 * width) {
      for (int64_t i = begin; i < begin + width; ++i) {
        const double a = x[i];
        const double b = x[i + width];
        x[i] = a + b;
        x[i + width] = a - b;
      }
    }
  }
  int64_t stride = power_of_two_;
  for (const Block& block : blocks_) {
    const int64_t span = stride * block.order;
    for (int64_t begin = 0; begin < size_; begin += span) {
      scratch.assign(static_cast<size_t>(span), 0.0);
      for (int64_t j = 0; j < block.order; ++j) {
        double* sum = scratch.data() + j * stride;
        for (int64_t i = 0; i < block.order; ++i) {
          const double value = block.values[static_cast<size_t>(i * block.order + j)];
          const double* from = x + begin + i * stride;
          for (int64_t t = 0; t < stride; ++t) sum[t] += value * from[t];
        }
      }
      std::copy(scratch.begin(), scratch.end(), x + begin);
    }
    stride = span;
  }
  for (int64_t i = 0; i < size_; ++i) x[i] *= factor_;
}

std::string Rotation::Describe() const {
  std::string text;
  for (const Block& block : blocks_) {
    text += fmt::format("{}{} x ", block.hadamard ? "H" : "DCT", block.order);
  }
  return text + fmt::format("H{}", power_of_two_);
}

}  // namespace octavo
