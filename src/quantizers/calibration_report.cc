// SPDX-License-Identifier: Apache-2.0
// Reports as JSON and back.
#include "quantizers/calibration_report.h"

#include <utility>

namespace octavo {
namespace {

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Result<std::optional<double>> OptionalDouble(const Json& json, std::string_view key) {
  if (Find(json, key) == nullptr) return std::optional<double>();
  OCTAVO_ASSIGN_OR_RETURN(const double value, GetDoubleOr(json, key, 0));
  return std::optional<double>(value);
}

Json ToJson(const ModuleReport& m) {
  return {{"module", m.module},
          {"scheme", m.scheme},
          {"algorithm", m.algorithm},
          {"note", m.note},
          {"output_relative_error", OrNull(m.output_relative_error)},
          {"output_cosine", OrNull(m.output_cosine)},
          {"input_absmax", m.input_absmax},
          {"input_absmax_smoothed", m.input_absmax_smoothed},
          {"damping", m.damping},
          {"num_tokens", m.num_tokens}};
}

Json ToJson(const SiteReport& s) {
  return {{"producer", s.producer},   {"consumers", s.consumers}, {"method", s.method},
          {"strength", s.strength},   {"duo_scaling", s.duo_scaling}, {"scale_min", s.scale_min},
          {"scale_max", s.scale_max}, {"error_ratio", s.error_ratio}};
}

Result<ModuleReport> ParseModule(const Json& json) {
  ModuleReport m;
  OCTAVO_ASSIGN_OR_RETURN(m.module, GetString(json, "module"));
  OCTAVO_ASSIGN_OR_RETURN(m.scheme, GetString(json, "scheme"));
  OCTAVO_ASSIGN_OR_RETURN(m.algorithm, GetString(json, "algorithm"));
  OCTAVO_ASSIGN_OR_RETURN(m.note, GetString(json, "note"));
  OCTAVO_ASSIGN_OR_RETURN(m.output_relative_error, OptionalDouble(json, "output_relative_error"));
  OCTAVO_ASSIGN_OR_RETURN(m.output_cosine, OptionalDouble(json, "output_cosine"));
  OCTAVO_ASSIGN_OR_RETURN(m.input_absmax, GetDoubleOr(json, "input_absmax", 0));
  OCTAVO_ASSIGN_OR_RETURN(m.input_absmax_smoothed, GetDoubleOr(json, "input_absmax_smoothed", 0));
  OCTAVO_ASSIGN_OR_RETURN(m.damping, GetDoubleOr(json, "damping", 0));
  OCTAVO_ASSIGN_OR_RETURN(m.num_tokens, GetInt(json, "num_tokens"));
  return m;
}

Result<SiteReport> ParseSite(const Json& json) {
  SiteReport s;
  OCTAVO_ASSIGN_OR_RETURN(s.producer, GetString(json, "producer"));
  OCTAVO_ASSIGN_OR_RETURN(s.method, GetString(json, "method"));
  OCTAVO_ASSIGN_OR_RETURN(s.strength, GetDoubleOr(json, "strength", 0));
  OCTAVO_ASSIGN_OR_RETURN(s.duo_scaling, GetBoolOr(json, "duo_scaling", false));
  OCTAVO_ASSIGN_OR_RETURN(s.scale_min, GetDoubleOr(json, "scale_min", 0));
  OCTAVO_ASSIGN_OR_RETURN(s.scale_max, GetDoubleOr(json, "scale_max", 0));
  OCTAVO_ASSIGN_OR_RETURN(s.error_ratio, GetDoubleOr(json, "error_ratio", 0));
  const Json* consumers = Find(json, "consumers");
  if (consumers == nullptr || !consumers->is_array()) return DataLoss("consumers: want a list");
  for (const Json& consumer : *consumers) {
    if (!consumer.is_string()) return DataLoss("consumers: want names");
    s.consumers.push_back(consumer.get<std::string>());
  }
  return s;
}

// Calls `parse` on every element of the list `key` and appends to `out`.
template <typename T, typename Fn>
Status ParseList(const Json& json, std::string_view key, const Fn& parse, std::vector<T>& out) {
  const Json* list = Find(json, key);
  if (list == nullptr || !list->is_array()) return DataLoss(std::string(key) + ": want a list");
  for (const Json& element : *list) {
    OCTAVO_ASSIGN_OR_RETURN(T parsed, parse(element));
    out.push_back(std::move(parsed));
  }
  return Status::Ok();
}

}  // namespace

Json ToJson(const LayerReport& report) {
  Json json = {{"layer", report.layer},
               {"seconds", report.seconds},
               {"modules", Json::array()},
               {"sites", Json::array()}};
  for (const ModuleReport& module : report.modules) json["modules"].push_back(ToJson(module));
  for (const SiteReport& site : report.sites) json["sites"].push_back(ToJson(site));
  if (!report.key_center.module.empty()) {
    json["key_center"] = {{"module", report.key_center.module}, {"values", report.key_center.values}};
  }
  return json;
}

Json ToJson(const CalibrationReport& report) {
  Json json = {{"algorithm", report.algorithm},
               {"source", report.source},
               {"num_samples", report.num_samples},
               {"num_tokens", report.num_tokens},
               {"token_norm_limit", report.token_norm_limit},
               {"layers", Json::array()}};
  for (const LayerReport& layer : report.layers) json["layers"].push_back(ToJson(layer));
  return json;
}

Result<LayerReport> ParseLayerReport(const Json& json) {
  LayerReport report;
  OCTAVO_ASSIGN_OR_RETURN(report.layer, GetInt(json, "layer", 0));
  OCTAVO_ASSIGN_OR_RETURN(report.seconds, GetDoubleOr(json, "seconds", 0));
  OCTAVO_RETURN_IF_ERROR(ParseList(json, "modules", ParseModule, report.modules));
  OCTAVO_RETURN_IF_ERROR(ParseList(json, "sites", ParseSite, report.sites));
  if (const Json* center = Find(json, "key_center")) {
    OCTAVO_ASSIGN_OR_RETURN(report.key_center.module, GetString(*center, "module"));
    const auto number = [](const Json& value) -> Result<float> {
      if (!value.is_number()) return DataLoss("key_center: want numbers");
      return value.get<float>();
    };
    OCTAVO_RETURN_IF_ERROR(ParseList(*center, "values", number, report.key_center.values));
  }
  return report;
}

}  // namespace octavo
