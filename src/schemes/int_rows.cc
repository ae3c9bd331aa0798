// SPDX-License-Identifier: Apache-2.0
// WeightRows back to codes and zero points.
#include "schemes/int_rows.h"

#include <fmt/format.h>

#include <cmath>

namespace octavo {
namespace {

// mins are -zero * scale, rounded once; the zero comes back exactly or the minimum was no such product.
Status ZerosOfMins(const WeightSource& source, int64_t row_begin, const WeightRows& from, IntRows& to) {
  const int64_t groups = source.spec().groups();
  const int top = 1 << source.spec().bits;
  for (size_t i = 0; i < to.zeros.size(); ++i) {
    const float scale = from.scales[i];
    const float zero = scale == 0 ? 0 : std::nearbyint(-from.mins[i] / scale);
    if (zero < 0 || zero >= static_cast<float>(top) || -zero * scale != from.mins[i]) {
      return FailedPrecondition(fmt::format(
          "{}: row {} group {}: minimum {} is no whole number of steps of {} from 0 to {}",
          source.info().name, row_begin + static_cast<int64_t>(i) / groups,
          static_cast<int64_t>(i) % groups, from.mins[i], scale, top - 1));
    }
    to.zeros[i] = static_cast<uint8_t>(zero);
  }
  return Status::Ok();
}

}  // namespace

bool IsIntRows(const WeightSpec& spec) {
  return spec.code == CodeType::kInt &&
         (spec.scales == ScaleLayout::kChannel || spec.scales == ScaleLayout::kGroup);
}

Status ReadIntRows(const WeightSource& source, int64_t row_begin, int64_t count, WeightRows& scratch,
                   IntRows& rows) {
  OCTAVO_RETURN_IF_ERROR(source.ReadRows(row_begin, count, scratch));
  const WeightSpec& spec = source.spec();
  rows.count = count;
  rows.codes = scratch.codes;
  rows.scales = scratch.scales;
  const auto middle = static_cast<uint8_t>(1u << (spec.bits - 1));
  rows.zeros.assign(rows.scales.size(), middle);
  if (spec.has_min) return ZerosOfMins(source, row_begin, scratch, rows);
  for (uint8_t& code : rows.codes) code = static_cast<uint8_t>(code + middle);
  return Status::Ok();
}

}  // namespace octavo
