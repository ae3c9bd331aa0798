// SPDX-License-Identifier: Apache-2.0
// Log-probabilities from logits, in natural logarithms: the base of all quality metrics.
#pragma once

#include <cstdint>
#include <span>

namespace octavo {

// log(sum(exp(logits))), without overflow for any finite logits. Sums in double over f32 exponentials
// of differences <= 0; the relative error of the sum is below 2e-6. NaN in gives NaN out. `logits` is
// not empty.
double LogSumExp(std::span<const float> logits);

// The same with the largest logit known.
double LogSumExp(std::span<const float> logits, float largest);

// log softmax(logits)[token]; `token` is inside.
double LogProb(std::span<const float> logits, int64_t token);

// Index of the largest logit; ties go to the lowest index, as in argmax of numpy and torch. NaN is never chosen;
// 0 when there is nothing else.
int64_t Top1Token(std::span<const float> logits);

// Largest minus second-largest logit: how sure the greedy choice is. 0 on a tie; needs two logits.
float Top1Margin(std::span<const float> logits);

}  // namespace octavo
