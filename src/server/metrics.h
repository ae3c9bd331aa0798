// SPDX-License-Identifier: Apache-2.0
// GET /metrics: the engine's figures under vLLM's Prometheus names, so that its dashboards work.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "octavo/engine.h"

namespace octavo::server {

// Requests by route and status. Thread-safe.
class HttpCounters {
 public:
  // `handler` must be one of our routes (or "other"), never text from a client: a label value costs
  // memory for good.
  void Count(const std::string& method, const std::string& handler, int status);

  using Key = std::tuple<std::string, std::string, int>;
  std::map<Key, uint64_t> Snapshot() const;

 private:
  mutable std::mutex mutex_;
  std::map<Key, uint64_t> counts_;
};

// Prometheus text exposition format 0.0.4. `engine` may be null (still loading).
std::string RenderMetrics(const LlmEngine* engine, const std::string& model_name,
                          const HttpCounters& http);

}  // namespace octavo::server
