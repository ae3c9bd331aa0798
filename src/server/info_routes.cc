// SPDX-License-Identifier: Apache-2.0
// Routes that say something about the server: page, health, version, load, metrics, models, status.
#include <fmt/format.h>

#include <map>
#include <tuple>
#include <utility>

#include "server/api_call.h"
#include "server/page.h"

namespace octavo::server {
namespace {

std::string_view NameOf(ApiServer::State state) {
  switch (state) {
    case ApiServer::State::kLoading: return "loading";
    case ApiServer::State::kReady: return "ready";
    case ApiServer::State::kDraining: return "draining";
    case ApiServer::State::kFailed: return "failed";
  }
  return "unknown";
}

Json ModelJson(const ModelInfo& info) {
  return {{"architecture", info.architecture},
          {"num_layers", info.num_layers},
          {"hidden_size", info.hidden_size},
          {"vocab_size", info.vocab_size},
          {"num_parameters", info.num_parameters},
          {"max_model_len", info.max_model_len},
          {"dtype", info.dtype},
          {"kv_cache_dtype", info.kv_cache_dtype},
          {"block_size", info.block_size},
          {"num_kv_blocks", info.num_kv_blocks},
          {"weight_bytes", info.weight_bytes},
          {"kv_cache_bytes", info.kv_cache_bytes},
          {"arena_bytes", info.arena_bytes},
          {"kv_bytes_per_token", info.kv_bytes_per_token},
          {"isa", info.isa},
          {"num_threads", info.num_threads},
          {"has_chat_template", info.has_chat_template}};
}

Json StatsJson(const EngineStats& stats) {
  return {{"num_running", stats.num_running},
          {"num_waiting", stats.num_waiting},
          {"kv_blocks_total", stats.kv_blocks_total},
          {"kv_blocks_used", stats.kv_blocks_used},
          {"kv_blocks_cached", stats.kv_blocks_cached},
          {"kv_cache_usage", stats.kv_cache_usage},
          {"prompt_tok_s", stats.prompt_tok_s},
          {"generation_tok_s", stats.generation_tok_s},
          {"step_ms", stats.step_ms},
          {"mean_running_seqs", stats.mean_running_seqs},
          {"num_steps", stats.num_steps},
          {"prompt_tokens", stats.prompt_tokens},
          {"generation_tokens", stats.generation_tokens},
          {"prefix_cache_queries", stats.prefix_cache_queries},
          {"prefix_cache_hits", stats.prefix_cache_hits},
          {"num_preemptions", stats.num_preemptions},
          {"draft_tokens", stats.draft_tokens},
          {"accepted_draft_tokens", stats.accepted_draft_tokens}};
}

// "self_attn.q_proj" of "model.layers.7.self_attn.q_proj": what layers have in common.
std::string WithoutLayer(const std::string& module) {
  const size_t layers = module.find("layers.");
  if (layers == std::string::npos) return module;
  const size_t dot = module.find('.', layers + 7);
  return dot == std::string::npos ? module : module.substr(dot + 1);
}

}  // namespace

void ApiServer::Page(Call& call) {
  if (!options_.page) return ReplyError(call, {404, "the chat page is turned off", "", ""});
  Reply(call, PageResponse());
}

void ApiServer::Health(Call& call) {
  const State state = state_;
  if (state == State::kReady) {
    const Status health = engine_.load()->health();
    if (health.ok()) return Reply(call, HttpResponse{});
    return ReplyError(call, {503, health.ToString(), "", "engine_failed"});
  }
  std::string message(NameOf(state));
  const std::lock_guard lock(mutex_);
  if (state == State::kLoading && load_total_ > 0) {
    message += fmt::format(": {} {} %", load_stage_, load_done_ * 100 / load_total_);
  }
  ReplyError(call, {503, message, "", std::string(NameOf(state))});
}

void ApiServer::Version(Call& call) { ReplyJson(call, {{"version", options_.version}}); }

void ApiServer::Load(Call& call) { ReplyJson(call, {{"server_load", server_load_.load()}}); }

void ApiServer::Metrics(Call& call) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = RenderMetrics(engine_, options_.served_model_names[0], http_);
  Reply(call, std::move(response));
}

void ApiServer::Models(Call& call) {
  const ModelInfo& info = call.engine->model_info();
  const auto describe = [&](const std::string& name) {
    return Json{{"id", name},
                {"object", "model"},
                {"created", start_time_},
                {"owned_by", "octavo"},
                {"root", info.path},
                {"parent", nullptr},
                {"max_model_len", info.max_model_len}};
  };
  constexpr std::string_view kPrefix = "/v1/models/";
  if (call.request.path.starts_with(kPrefix)) {
    const std::string name = call.request.path.substr(kPrefix.size());
    if (auto error = CheckModel(name)) return ReplyError(call, *error);
    return ReplyJson(call, describe(name));
  }
  Json list = {{"object", "list"}, {"data", Json::array()}};
  for (const std::string& name : options_.served_model_names) list["data"].push_back(describe(name));
  ReplyJson(call, list);
}

// What the page's live panel shows; one snapshot per call.
void ApiServer::ServerStatus(Call& call) {
  Json json = {{"state", NameOf(state_)},
               {"version", options_.version},
               {"model_name", options_.served_model_names[0]},
               {"uptime_s", UnixSeconds() - start_time_},
               {"server_load", server_load_.load()}};
  {
    const std::lock_guard lock(mutex_);
    json["load"] = {{"stage", load_stage_}, {"done", load_done_}, {"total", load_total_}};
    if (!failure_.ok()) json["error"] = failure_.ToString();
  }
  if (call.engine != nullptr) {
    json["model"] = ModelJson(call.engine->model_info());
    json["stats"] = StatsJson(call.engine->stats());
    json["defaults"] = {{"temperature", defaults_.temperature},
                        {"top_p", defaults_.top_p},
                        {"top_k", defaults_.top_k},
                        {"min_p", defaults_.min_p},
                        {"repetition_penalty", defaults_.repetition_penalty}};
  }
  call.headers.push_back({"Cache-Control", "no-store"});
  ReplyJson(call, json);
}

// Per-layer precision; layers that compute alike share a row.
void ApiServer::Layers(Call& call) {
  using Key = std::tuple<std::string, std::string, std::string, std::string, std::string>;
  std::map<Key, std::pair<int64_t, double>> rows;  // count, sum of stored bits
  std::vector<Key> order;
  for (const LayerPrecision& layer : call.engine->layer_precision()) {
    Key key{WithoutLayer(layer.module), layer.scheme, layer.activation, layer.accumulator,
            layer.kernel};
    auto [it, added] = rows.try_emplace(key, 0, 0.0);
    if (added) order.push_back(key);
    ++it->second.first;
    it->second.second += layer.stored_bits;
  }
  Json list = Json::array();
  for (const Key& key : order) {
    const auto& [count, bits] = rows[key];
    list.push_back({{"module", std::get<0>(key)},
                    {"scheme", std::get<1>(key)},
                    {"activation", std::get<2>(key)},
                    {"accumulator", std::get<3>(key)},
                    {"kernel", std::get<4>(key)},
                    {"count", count},
                    {"bits_per_weight", bits / static_cast<double>(count)}});
  }
  ReplyJson(call, {{"layers", std::move(list)}});
}

}  // namespace octavo::server
