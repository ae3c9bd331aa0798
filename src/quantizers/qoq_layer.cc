// SPDX-License-Identifier: Apache-2.0
// Walks the places of a layer where channels may trade scale or places.
#include "quantizers/qoq_layer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "quantizers/channel_order.h"
#include "quantizers/smooth_attention.h"

namespace octavo {
namespace {

constexpr double kGroupedOutputStrength = 0.15;
constexpr double kChannelOutputStrength = 0.05;

bool IsQoq(const LayerModule& module) { return module.quantized() && module.algorithm().qoq; }

const QuantArgs& WeightsOf(const LayerModule& module) { return module.planned->module->args.weights; }

bool IsGrouped(const LayerModule& module) {
  return WeightsOf(module).strategy == Strategy::kGroup;
}

int64_t GroupSize(const LayerModule& module) { return WeightsOf(module).group_size; }

class QoqLayer {
 public:
  QoqLayer(const QoqLayerInput& input, LayerTransform& transform, LayerReport& report)
      : in_(input), transform_(transform), report_(report) {}

  Status Run() {
    OCTAVO_RETURN_IF_ERROR(HandleKeys());
    if (in_.options.reorder) OCTAVO_RETURN_IF_ERROR(ReorderHeads());
    for (const LayerSite& site : in_.layer.sites) {
      if (!site.partners.empty()) OCTAVO_RETURN_IF_ERROR(HandleOutput(site));
    }
    return Status::Ok();
  }

 private:
  void Report(std::string_view method, const LayerModule& producer, const LayerModule& consumer,
              double strength, const std::vector<float>& scales) {
    SiteReport report;
    report.producer = producer.name;
    report.consumers = {consumer.name};
    report.method = method;
    report.strength = strength;
    if (!scales.empty()) {
      const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
      report.scale_min = static_cast<double>(*low);
      report.scale_max = static_cast<double>(*high);
    }
    report_.sites.push_back(std::move(report));
  }

  Status HandleKeys() {
    const LayerModule* q = FindQoqModule(in_.layer, "q_proj");
    const LayerModule* k = FindQoqModule(in_.layer, "k_proj");
    if (q == nullptr || k == nullptr || in_.keys.center.empty()) return Status::Ok();
    const std::vector<float>& center = in_.keys.center;
    if (std::any_of(center.begin(), center.end(), [](float x) { return x != 0; })) {
      report_.key_center = {k->name.substr(0, k->name.rfind('.')), center};
    }
    if (!in_.options.smooth_attention) return Status::Ok();
    const double strength = in_.options.smooth_attention_strength;
    const std::vector<float> scales = SmoothAttentionScales(in_.keys.magnitude, strength);
    for (size_t i = 0; i < report_.key_center.values.size(); ++i) {
      report_.key_center.values[i] /= scales[i];
    }
    Report("smooth-attention", *k, *q, strength, scales);
    return FoldSmoothAttention(in_.checkpoint, *q, *k, in_.config, scales, transform_);
  }

  // Within a head only, so groups of whole heads gain nothing.
  Status ReorderHeads() {
    const LayerModule* v = FindQoqModule(in_.layer, "v_proj");
    const LayerModule* o = FindQoqModule(in_.layer, "o_proj");
    if (v == nullptr || o == nullptr || !in_.inputs.contains(o->name)) return Status::Ok();
    if (!IsGrouped(*o) || GroupSize(*o) % in_.config.head_dim == 0) return Status::Ok();
    const HeadOrder order =
        OrderHeads(in_.inputs.at(o->name)->absmax, in_.config.head_dim, in_.config.num_kv_heads);
    Report("reorder", *v, *o, 0, {});
    return FoldOrder(in_.checkpoint, {v}, *o, order.values, order.inputs, transform_);
  }

  // up_proj (and its partner gate_proj) into down_proj: scales in the old order, then the new order.
  Status HandleOutput(const LayerSite& site) {
    const LayerModule& consumer = in_.layer.modules[site.consumers.front()];
    const LayerModule& producer = *in_.layer.Find(site.producer);
    const auto input = in_.inputs.find(consumer.name);
    if (site.consumers.size() != 1 || !IsQoq(consumer) || !IsQoq(producer) ||
        input == in_.inputs.end()) {
      return Status::Ok();
    }
    const double strength = OutputStrength(consumer);
    std::vector<float> scales;
    if (in_.options.smooth_output) {
      OCTAVO_ASSIGN_OR_RETURN(scales, SmoothQuantScales(in_.checkpoint, in_.layer, site, in_.inputs,
                                                        static_cast<float>(strength)));
    }
    if (in_.options.reorder && IsGrouped(consumer)) {
      OCTAVO_RETURN_IF_ERROR(ReorderOutput(site, producer, consumer, input->second->absmax, scales));
    }
    if (scales.empty()) return Status::Ok();
    Report("smooth-output", producer, consumer, strength, scales);
    return FoldScales(in_.checkpoint, in_.layer, site, std::move(scales), transform_);
  }

  Status ReorderOutput(const LayerSite& site, const LayerModule& producer,
                       const LayerModule& consumer, const std::vector<float>& salience,
                       std::vector<float>& scales) {
    std::vector<const LayerModule*> producers = {&producer};
    for (const size_t index : site.partners) {
      if (!IsQoq(in_.layer.modules[index])) return Status::Ok();
      producers.push_back(&in_.layer.modules[index]);
    }
    const auto order = OrderBySalience(salience, static_cast<int64_t>(salience.size()));
    if (!scales.empty()) {
      std::vector<float> moved;
      for (const int32_t old : order) moved.push_back(scales[static_cast<size_t>(old)]);
      scales.swap(moved);
    }
    Report("reorder", producer, consumer, 0, {});
    return FoldOrder(in_.checkpoint, producers, consumer, order, order, transform_);
  }

  double OutputStrength(const LayerModule& consumer) const {
    if (in_.options.smooth_output_strength >= 0) return in_.options.smooth_output_strength;
    return IsGrouped(consumer) ? kGroupedOutputStrength : kChannelOutputStrength;
  }

  const QoqLayerInput& in_;
  LayerTransform& transform_;
  LayerReport& report_;
};

}  // namespace

const LayerModule* FindQoqModule(const LayerModules& layer, std::string_view role) {
  for (const LayerModule& module : layer.modules) {
    if (module.role == role) return IsQoq(module) ? &module : nullptr;
  }
  return nullptr;
}

Status ChooseQoqTransform(const QoqLayerInput& input, LayerTransform& transform,
                          LayerReport& report) {
  return QoqLayer(input, transform, report).Run();
}

}  // namespace octavo
