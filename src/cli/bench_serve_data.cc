// SPDX-License-Identifier: Apache-2.0
// Random token ids, shared prefixes, or lines of a file.
#include "cli/bench_serve_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/file.h"
#include "base/json.h"

namespace octavo {
namespace {

// The low ids are special tokens or bytes in most vocabularies.
constexpr int64_t kFirstId = 300;

class BodyMaker {
 public:
  explicit BodyMaker(const BenchDataOptions& options) : options_(options), random_(options.seed) {}

  int64_t Length(int64_t mean) {
    const double spread = static_cast<double>(mean) * options_.range_ratio;
    const auto low = static_cast<int64_t>(std::floor(static_cast<double>(mean) - spread));
    const auto high = static_cast<int64_t>(std::ceil(static_cast<double>(mean) + spread));
    return std::max<int64_t>(1, std::uniform_int_distribution<int64_t>(low, high)(random_));
  }

  std::vector<int64_t> Ids(int64_t count) {
    const int64_t first = std::min(kFirstId, options_.vocab_size / 2);
    std::uniform_int_distribution<int64_t> draw(first, options_.vocab_size - 1);
    std::vector<int64_t> ids(static_cast<size_t>(count));
    for (int64_t& id : ids) id = draw(random_);
    return ids;
  }

  std::string Body(Json prompt) {
    Json body = {{"model", options_.model},
                 {"prompt", std::move(prompt)},
                 {"max_tokens", Length(options_.output_len)},
                 {"temperature", options_.temperature},
                 {"stream", true},
                 {"stream_options", {{"include_usage", true}}}};
    if (options_.ignore_eos) body["ignore_eos"] = true;
    return DumpJson(body);
  }

 private:
  const BenchDataOptions& options_;
  std::mt19937_64 random_;
};

Result<std::vector<std::string>> FromFile(const BenchDataOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.file));
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (lines.empty()) return InvalidArgument(options.file + ": no line with text");
  BodyMaker maker(options);
  std::vector<std::string> bodies;
  for (int64_t i = 0; i < options.num_prompts; ++i) {
    bodies.push_back(maker.Body(lines[static_cast<size_t>(i) % lines.size()]));
  }
  return bodies;
}

}  // namespace

Result<std::vector<std::string>> MakeBenchBodies(const BenchDataOptions& options) {
  if (options.dataset == "file") return FromFile(options);
  if (options.vocab_size < 2) {
    return InvalidArgument(fmt::format("vocabulary of {} tokens, want at least 2 (--vocab-size)",
                                       options.vocab_size));
  }
  BodyMaker maker(options);
  std::vector<std::vector<int64_t>> prefixes;
  if (options.dataset == "prefix_repetition") {
    for (int64_t i = 0; i < options.num_prefixes; ++i) prefixes.push_back(maker.Ids(options.prefix_len));
  }
  std::vector<std::string> bodies;
  for (int64_t i = 0; i < options.num_prompts; ++i) {
    std::vector<int64_t> ids;
    if (!prefixes.empty()) ids = prefixes[static_cast<size_t>(i) % prefixes.size()];
    const std::vector<int64_t> own = maker.Ids(maker.Length(options.input_len));
    ids.insert(ids.end(), own.begin(), own.end());
    bodies.push_back(maker.Body(ids));
  }
  return bodies;
}

}  // namespace octavo
