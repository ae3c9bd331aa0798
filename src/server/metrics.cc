// SPDX-License-Identifier: Apache-2.0
// Metric families from snapshots; prometheus-cpp writes the text.
#include "server/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <utility>
#include <vector>

namespace octavo::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class FamilyWriter {
 public:
  FamilyWriter(std::vector<MetricFamily>& out, Labels labels)
      : out_(out), labels_(std::move(labels)) {}

  void Gauge(const char* name, const char* help, double value) {
    ClientMetric metric;
    metric.label = labels_;
    metric.gauge.value = value;
    out_.push_back({name, help, MetricType::Gauge, {std::move(metric)}});
  }

  void Counter(const char* name, const char* help, uint64_t value) {
    out_.push_back({name, help, MetricType::Counter, {CounterMetric(labels_, value)}});
  }

  void Histogram(const char* name, const char* help, const octavo::Histogram& histogram) {
    ClientMetric metric;
    metric.label = labels_;
    metric.histogram.sample_count = histogram.count;
    metric.histogram.sample_sum = histogram.sum;
    uint64_t cumulative = 0;
    for (size_t i = 0; i < histogram.counts.size(); ++i) {
      cumulative += histogram.counts[i];
      const double bound = i < histogram.bounds.size() ? histogram.bounds[i]
                                                       : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({cumulative, bound});
    }
    out_.push_back({name, help, MetricType::Histogram, {std::move(metric)}});
  }

  static ClientMetric CounterMetric(Labels labels, uint64_t value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = static_cast<double>(value);
    return metric;
  }

 private:
  std::vector<MetricFamily>& out_;
  const Labels labels_;
};

void AddState(const EngineStats& stats, FamilyWriter& writer) {
  writer.Gauge("vllm:num_requests_running", "Sequences that run.",
               static_cast<double>(stats.num_running));
  writer.Gauge("vllm:num_requests_waiting", "Requests that wait to run.",
               static_cast<double>(stats.num_waiting));
  writer.Gauge("vllm:kv_cache_usage_perc", "KV blocks in use, 1 = all.", stats.kv_cache_usage);
  writer.Gauge("octavo:prompt_tokens_per_second", "Prompt tokens computed, last 5 seconds.",
               stats.prompt_tok_s);
  writer.Gauge("octavo:generation_tokens_per_second", "Tokens generated, last 5 seconds.",
               stats.generation_tok_s);
  writer.Gauge("octavo:step_milliseconds", "Duration of an engine step, moving average.",
               stats.step_ms);
}

void AddCounters(const EngineStats& stats, FamilyWriter& writer) {
  writer.Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
                 stats.prefix_cache_queries);
  writer.Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
                 stats.prefix_cache_hits);
  writer.Counter("vllm:num_preemptions_total", "Sequences preempted for lack of KV blocks.",
                 stats.num_preemptions);
  writer.Counter("vllm:prompt_tokens_total", "Prompt tokens computed.", stats.prompt_tokens);
  writer.Counter("vllm:generation_tokens_total", "Tokens generated.", stats.generation_tokens);
  writer.Counter("vllm:spec_decode_num_draft_tokens_total", "Draft tokens proposed.",
                 stats.draft_tokens);
  writer.Counter("vllm:spec_decode_num_accepted_tokens_total", "Draft tokens accepted.",
                 stats.accepted_draft_tokens);
  writer.Counter("octavo:engine_steps_total", "Engine steps.", stats.num_steps);
}

void AddHistograms(const EngineStats& stats, FamilyWriter& writer) {
  writer.Histogram("vllm:iteration_tokens_total", "Tokens computed per engine step.",
                   stats.iteration_tokens);
  writer.Histogram("vllm:time_to_first_token_seconds", "Submission to first token.",
                   stats.time_to_first_token_s);
  writer.Histogram("vllm:inter_token_latency_seconds", "Between tokens of a request.",
                   stats.inter_token_latency_s);
  writer.Histogram("vllm:e2e_request_latency_seconds", "Submission to last token.",
                   stats.e2e_latency_s);
  writer.Histogram("vllm:request_queue_time_seconds", "Time in the queue.", stats.queue_time_s);
  writer.Histogram("vllm:request_prefill_time_seconds", "First scheduled to first token.",
                   stats.prefill_time_s);
  writer.Histogram("vllm:request_decode_time_seconds", "First to last token.",
                   stats.decode_time_s);
  writer.Histogram("vllm:request_prompt_tokens", "Prompt tokens per request.",
                   stats.request_prompt_tokens);
  writer.Histogram("vllm:request_generation_tokens", "Generated tokens per request.",
                   stats.request_generation_tokens);
}

MetricFamily FinishedRequests(const EngineStats& stats, const Labels& base) {
  MetricFamily family{"vllm:request_success_total", "Finished requests by reason.",
                      MetricType::Counter, {}};
  const std::pair<const char*, uint64_t> reasons[] = {{"stop", stats.requests_stop},
                                                      {"length", stats.requests_length},
                                                      {"abort", stats.requests_abort},
                                                      {"error", stats.requests_error}};
  for (const auto& [reason, count] : reasons) {
    Labels labels = base;
    labels.push_back({"finished_reason", reason});
    family.metric.push_back(FamilyWriter::CounterMetric(std::move(labels), count));
  }
  return family;
}

MetricFamily CacheConfig(const ModelInfo& info, const EngineOptions& options, Labels labels) {
  labels.push_back({"block_size", std::to_string(info.block_size)});
  labels.push_back({"num_gpu_blocks", std::to_string(info.num_kv_blocks)});
  labels.push_back({"cache_dtype", info.kv_cache_dtype});
  labels.push_back({"enable_prefix_caching", options.enable_prefix_caching ? "True" : "False"});
  MetricFamily family{"vllm:cache_config_info", "Settings of the KV cache.", MetricType::Gauge, {}};
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = 1;
  family.metric.push_back(std::move(metric));
  return family;
}

MetricFamily HttpRequests(const HttpCounters& http) {
  MetricFamily family{"http_requests_total", "HTTP replies by route and status.",
                      MetricType::Counter, {}};
  for (const auto& [key, count] : http.Snapshot()) {
    const auto& [method, handler, status] = key;
    Labels labels = {{"method", method}, {"handler", handler}, {"status", std::to_string(status)}};
    family.metric.push_back(FamilyWriter::CounterMetric(std::move(labels), count));
  }
  return family;
}

}  // namespace

void HttpCounters::Count(const std::string& method, const std::string& handler, int status) {
  const std::lock_guard lock(mutex_);
  ++counts_[{method, handler, status}];
}

std::map<HttpCounters::Key, uint64_t> HttpCounters::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::string RenderMetrics(const LlmEngine* engine, const std::string& model_name,
                          const HttpCounters& http) {
  std::vector<MetricFamily> families;
  if (engine != nullptr) {
    const EngineStats stats = engine->stats();
    const Labels labels = {{"model_name", model_name}, {"engine", "0"}};
    FamilyWriter writer(families, labels);
    AddState(stats, writer);
    AddCounters(stats, writer);
    AddHistograms(stats, writer);
    families.push_back(FinishedRequests(stats, labels));
    families.push_back(CacheConfig(engine->model_info(), engine->options(), labels));
  }
  families.push_back(HttpRequests(http));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace octavo::server
