// SPDX-License-Identifier: Apache-2.0
// Linear layers whose stored matrices are not the original's, rounded.
//
// Smoothing, AWQ, reordering and rotation move scale, places or bases from one matrix to the next. The
// model's function stays, but a matrix compared with the original's of the same name differs by far more
// than rounding: such a figure says nothing about quality.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/checkpoint.h"

namespace octavo {

class TransformedModules {
 public:
  TransformedModules() = default;

  // By what `octavo_quantize.json` beside `other` says; without that file, by the norms: all linears of
  // a layer are transformed if one of its norms is not the reference's. A file that cannot be read
  // counts as none.
  static TransformedModules Find(const Checkpoint& reference, const Checkpoint& other);

  bool Contains(const std::string& module) const;

 private:
  void AddReport(const Json& report);
  void AddLayersByNorms(const Checkpoint& reference, const Checkpoint& other);

  bool all_ = false;
  std::set<std::string> modules_;
  std::vector<std::string> layers_;  // "model.layers.3."
};

}  // namespace octavo
