// SPDX-License-Identifier: Apache-2.0
// Scope and recursion guards shared by the evaluator's two source files.
#pragma once

#include <memory>

#include "octavo/status.h"
#include "tokenizer/jinja/evaluator.h"

namespace octavo::jinja {

// A new innermost scope for the guard's lifetime.
class Evaluator::ScopeGuard {
 public:
  explicit ScopeGuard(Environment* environment) : environment_(environment) {
    environment_->push_back(std::make_shared<Scope>());
  }
  ~ScopeGuard() { environment_->pop_back(); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Environment* environment_;
};

// Bounds the native stack: statements, expressions and macro calls all count.
class Evaluator::DepthGuard {
 public:
  explicit DepthGuard(int* depth) : depth_(depth) { ++*depth_; }
  ~DepthGuard() { --*depth_; }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;
  Status Check() const {
    constexpr int kMaxDepth = 600;
    if (*depth_ <= kMaxDepth) return Status::Ok();
    return ResourceExhausted("template: nested or recursive calls too deep");
  }

 private:
  int* depth_;
};

}  // namespace octavo::jinja
