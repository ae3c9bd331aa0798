// SPDX-License-Identifier: Apache-2.0
// The load client of `octavo bench serve`: sends streamed completions and takes the time of every token.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct BenchTarget {
  std::string host = "127.0.0.1";
  std::string port = "8000";
  std::string base_path;  // "" or "/prefix"
  std::string api_key;
};

// "http://host:port/prefix" -> target. https is not spoken.
Result<BenchTarget> ParseBenchUrl(const std::string& url);

struct BenchLoad {
  double request_rate = std::numeric_limits<double>::infinity();  // per second, Poisson arrivals
  int64_t max_concurrency = 0;                                    // 0: no limit
  uint64_t seed = 0;
};

struct BenchOutcome {
  bool ok = false;
  std::string error;
  double start_s = 0;           // since the run's start
  double ttft_s = 0;            // sent -> first token
  double latency_s = 0;         // sent -> last token
  std::vector<double> itl_s;    // between events that carry text
  int64_t prompt_tokens = 0;    // as the server counts them
  int64_t output_tokens = 0;
};

struct BenchRun {
  std::vector<BenchOutcome> outcomes;  // in the order of the requests
  double duration_s = 0;
};

// POSTs every body to /v1/completions at the pace of `load`. `on_finished` is told how many are done.
// kCancelled when `stop` becomes true. Single-threaded, so that it takes little from the server.
Result<BenchRun> RunBenchLoad(const BenchTarget& target, const std::vector<std::string>& bodies,
                              const BenchLoad& load, const std::function<void(size_t)>& on_finished,
                              const std::atomic<bool>& stop);

// GETs a JSON document; for what the target says about itself.
Result<Json> GetBenchJson(const BenchTarget& target, const std::string& path);

// Removes "Transfer-Encoding: chunked" framing as bytes come in.
class Dechunker {
 public:
  // Appends the payload in `data` to `out`. False at malformed framing.
  bool Push(std::string_view data, std::string& out);
  bool done() const { return state_ == State::kDone; }

 private:
  enum class State { kSize, kData, kDataEnd, kDone };
  State state_ = State::kSize;
  std::string line_;
  uint64_t left_ = 0;
};

}  // namespace octavo
