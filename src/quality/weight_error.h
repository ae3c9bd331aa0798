// SPDX-License-Identifier: Apache-2.0
// How far stored weights are from the original's.
#pragma once

#include "base/thread_pool.h"
#include "octavo/status.h"
#include "schemes/weight_source.h"

namespace octavo {

struct WeightError {
  double relative = 0;  // ||other - reference|| / ||reference||, Frobenius; NaN for a zero reference
  double cosine = 0;    // of the angle between both as vectors
  double max_abs = 0;   // largest |other - reference|
};

// Streams blocks of rows through `pool`; memory is one block of both matrices per thread. The result
// does not depend on the number of threads.
// Errors: InvalidArgument when the shapes differ; as WeightSource::DequantizeRows.
Result<WeightError> MeasureWeightError(const WeightSource& reference, const WeightSource& other,
                                       ThreadPool& pool);

// Relative error and cosine of two vectors' sums, for those who add up elsewhere.
class ErrorSums {
 public:
  void Add(double reference, double other) {
    const double difference = other - reference;
    difference_ += difference * difference;
    reference_ += reference * reference;
    other_ += other * other;
    product_ += reference * other;
  }
  void Add(const ErrorSums& more);
  double relative() const;
  double cosine() const;

 private:
  double difference_ = 0;
  double reference_ = 0;
  double other_ = 0;
  double product_ = 0;
};

}  // namespace octavo
