// SPDX-License-Identifier: Apache-2.0
// Mixtral (arXiv:2401.04088): Mistral's decoder with a mixture of experts in place of the MLP.
#include <fmt/format.h>

#include "layers/moe.h"
#include "models/llama_like.h"

namespace octavo {
namespace {

constexpr int64_t kMaxExperts = 4096;

Result<ModelConfig> ParseConfig(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig config, ParseLlamaLikeConfig(json));
  OCTAVO_ASSIGN_OR_RETURN(config.num_experts, GetIntOr(json, "num_local_experts", 8, 1, kMaxExperts));
  OCTAVO_ASSIGN_OR_RETURN(config.num_experts_per_tok,
                          GetIntOr(json, "num_experts_per_tok", 2, 1, config.num_experts));
  OCTAVO_ASSIGN_OR_RETURN(const int64_t window,
                          GetIntOr(json, "sliding_window", 0, 0, int64_t{1} << 31));
  if (Find(json, "rope_theta") == nullptr) config.rope.theta = 1e6;
  config.layer_windows.assign(static_cast<size_t>(config.num_layers), window);
  return config;
}

Result<std::unique_ptr<FeedForward>> LoadExperts(const ModelConfig& config, WeightLoader& loader,
                                                 const std::string& prefix) {
  const std::string moe = prefix + ".block_sparse_moe";
  OCTAVO_ASSIGN_OR_RETURN(
      Linear router, loader.LoadLinear(moe + ".gate", {{moe + ".gate", config.num_experts}},
                                       config.hidden_size, /*has_bias=*/false));
  // Upstream names experts' matrices w1 (gate), w3 (up), w2 (down); llm-compressor renames them.
  const bool upstream =
      loader.Has(moe + ".experts.0.w1.weight") || loader.Has(moe + ".experts.0.w1.weight_packed");
  const GatedMlpNames names = upstream ? GatedMlpNames{"w1", "w3", "w2"}
                                       : GatedMlpNames{"gate_proj", "up_proj", "down_proj"};
  std::vector<Mlp> experts;
  for (int64_t e = 0; e < config.num_experts; ++e) {
    OCTAVO_ASSIGN_OR_RETURN(
        Mlp expert, LoadGatedMlp(config, loader, fmt::format("{}.experts.{}", moe, e), names));
    experts.push_back(std::move(expert));
  }
  return std::unique_ptr<FeedForward>(std::make_unique<MoeMlp>(
      static_cast<int>(config.num_experts_per_tok), std::move(router), std::move(experts)));
}

Result<std::unique_ptr<Model>> Load(ModelConfig config, WeightLoader& loader) {
  return LoadLlamaLike(std::move(config), loader, LoadExperts);
}

std::vector<WeightPattern> WeightMap() {
  std::vector<WeightPattern> rows = LlamaLikeWeightMap();
  std::erase_if(rows, [](const WeightPattern& row) {
    return row.pattern.find(".mlp.") != std::string_view::npos;
  });
  const std::vector<WeightPattern> experts = {
      {"model.layers.{}.block_sparse_moe.gate", "router"},
      {"model.layers.{}.block_sparse_moe.experts.{}.w1", "w1", true},
      {"model.layers.{}.block_sparse_moe.experts.{}.w2", "w2", true},
      {"model.layers.{}.block_sparse_moe.experts.{}.w3", "w3", true},
      {"model.layers.{}.block_sparse_moe.experts.{}.gate_proj", "w1", true},
      {"model.layers.{}.block_sparse_moe.experts.{}.down_proj", "w2", true},
      {"model.layers.{}.block_sparse_moe.experts.{}.up_proj", "w3", true},
  };
  rows.insert(rows.end(), experts.begin(), experts.end());
  return rows;
}

}  // namespace

extern const ModelArch kArch_mixtral;
const ModelArch kArch_mixtral = {
    .name = "mixtral",
    .hf_architectures = {"MixtralForCausalLM"},
    .parse_config = ParseConfig,
    .load = Load,
    .weight_map = WeightMap(),
    .smoothing = {{"input_layernorm", {"q_proj", "k_proj", "v_proj"}},
                  {"post_attention_layernorm", {"router", "w1", "w3"}},
                  {"v_proj", {"o_proj"}},
                  {"w3", {"w2"}, {"w1"}}},
    .residual_writers = {"o_proj", "w2"},
};

}  // namespace octavo
