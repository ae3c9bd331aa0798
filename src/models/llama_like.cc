// SPDX-License-Identifier: Apache-2.0
// Config, weights and forward pass of the Llama-like decoder.
#include "models/llama_like.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "layers/attention.h"
#include "layers/embedding.h"
#include "layers/mlp.h"
#include "layers/norm.h"

namespace octavo {
namespace {

struct DecoderLayer {
  Norm input_norm;
  SelfAttention attention;
  Norm post_attention_norm;
  std::unique_ptr<FeedForward> mlp;
};

class LlamaLikeModel : public Model {
 public:
  LlamaLikeModel(ModelConfig config, Embedding embedding, std::vector<DecoderLayer> layers,
                 Norm norm, Linear lm_head, std::shared_ptr<RopeTable> rope)
      : Model(std::move(config)), embedding_(std::move(embedding)), layers_(std::move(layers)),
        norm_(std::move(norm)), lm_head_(std::move(lm_head)), rope_(std::move(rope)) {}

  std::vector<KvLayerSpec> kv_layers() const override {
    std::vector<KvLayerSpec> out;
    for (const DecoderLayer& layer : layers_) out.push_back(layer.attention.config().kv());
    return out;
  }

  Status Reserve(Workspace& ws, int num_threads) const override {
    OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kHidden, config().hidden_size));
    OCTAVO_RETURN_IF_ERROR(ws.ReserveThreadScratch(num_threads, config().hidden_size));
    const auto reserve = [&](const Linear& linear) {
      return ws.activations().Reserve(linear.inputs(), ws.max_tokens(), linear.k());
    };
    for (const DecoderLayer& layer : layers_) {
      OCTAVO_RETURN_IF_ERROR(reserve(layer.attention.qkv()));
      OCTAVO_RETURN_IF_ERROR(ws.activations().Reserve(layer.mlp->inputs(), ws.max_tokens(),
                                                      config().hidden_size));
      OCTAVO_RETURN_IF_ERROR(layer.attention.Reserve(ws));
      OCTAVO_RETURN_IF_ERROR(layer.mlp->Reserve(ws, num_threads));
    }
    return reserve(lm_head_);
  }

  Status Embed(Step& step) const override {
    rope_->Extend(1 + *std::max_element(step.batch.positions.begin(), step.batch.positions.end()));
    return embedding_.Gather(step.batch.tokens, step.Hidden(config().hidden_size), false);
  }

  void Layer(int64_t index, Step& step) const override {
    const DecoderLayer& layer = layers_[static_cast<size_t>(index)];
    const ArenaMatrix hidden = step.Hidden(config().hidden_size);
    const int64_t rows = step.batch.num_tokens();
    layer.input_norm.Produce(step, hidden, rows, layer.attention.qkv().inputs());
    layer.attention.Forward(step, hidden, /*accumulate=*/true);
    layer.post_attention_norm.Produce(step, hidden, rows, layer.mlp->inputs());
    layer.mlp->Forward(step, hidden, /*accumulate=*/true);
  }

  void Finish(Step& step, std::span<const int64_t> rows, float* logits) const override {
    norm_.ProduceRows(step, step.Hidden(config().hidden_size), rows, lm_head_.inputs());
    lm_head_.Forward(step, step.ws.activations(),
                     {.data = logits, .row_stride = config().vocab_size}, /*accumulate=*/false);
  }

  void FinalHidden(const Step& step, int64_t row, float* hidden) const override {
    norm_.Row(step.isa, step.Hidden(config().hidden_size).Row(row), hidden);
  }

  std::vector<const Linear*> linears() const override {
    std::vector<const Linear*> out;
    for (const DecoderLayer& layer : layers_) {
      out.insert(out.end(), {&layer.attention.qkv(), &layer.attention.out()});
      for (const Linear* linear : layer.mlp->linears()) out.push_back(linear);
    }
    out.push_back(&lm_head_);
    return out;
  }

 private:
  Embedding embedding_;
  std::vector<DecoderLayer> layers_;
  Norm norm_;
  Linear lm_head_;
  std::shared_ptr<RopeTable> rope_;  // grows with the positions seen
};

Result<SelfAttention> LoadAttention(const ModelConfig& c, WeightLoader& loader,
                                    const std::string& prefix, int layer,
                                    std::shared_ptr<RopeTable> rope) {
  const int64_t q_size = int64_t{c.num_heads} * c.head_dim;
  const int64_t kv_size = int64_t{c.num_kv_heads} * c.head_dim;
  const std::string attn = prefix + ".self_attn";
  OCTAVO_ASSIGN_OR_RETURN(Linear qkv, loader.LoadLinear(attn + ".qkv_proj",
                                                        {{attn + ".q_proj", q_size},
                                                         {attn + ".k_proj", kv_size},
                                                         {attn + ".v_proj", kv_size}},
                                                        c.hidden_size, c.qkv_bias));
  OCTAVO_ASSIGN_OR_RETURN(
      Linear out, loader.LoadLinear(attn + ".o_proj", {{attn + ".o_proj", c.hidden_size}}, q_size,
                                    c.o_bias));
  OCTAVO_ASSIGN_OR_RETURN(const WeightLoader::KvScales kv, loader.LoadKvScales(attn));
  OCTAVO_ASSIGN_OR_RETURN(std::vector<float> key_center, loader.FindKeyCenter(attn, kv_size));
  const AttentionConfig config{
      .layer = layer,
      .num_heads = c.num_heads,
      .num_kv_heads = c.num_kv_heads,
      .head_dim = c.head_dim,
      .softmax_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim))),
      .window = c.layer_windows[static_cast<size_t>(layer)],
      .k_scale = kv.k,
      .v_scale = kv.v,
      .key_center = std::move(key_center)};
  return SelfAttention(config, std::move(rope), std::move(qkv), std::move(out));
}

Result<DecoderLayer> LoadLayer(const ModelConfig& c, WeightLoader& loader, int layer,
                               std::shared_ptr<RopeTable> rope, FeedForwardLoader load_mlp) {
  const std::string prefix = fmt::format("model.layers.{}", layer);
  const auto load_norm = [&](const std::string& name) {
    return loader.LoadNorm(Norm::Kind::kRms, prefix + name, c.hidden_size,
                           static_cast<float>(c.norm_eps));
  };
  OCTAVO_ASSIGN_OR_RETURN(Norm input_norm, load_norm(".input_layernorm"));
  OCTAVO_ASSIGN_OR_RETURN(Norm post_norm, load_norm(".post_attention_layernorm"));
  OCTAVO_ASSIGN_OR_RETURN(SelfAttention attention,
                          LoadAttention(c, loader, prefix, layer, std::move(rope)));
  OCTAVO_ASSIGN_OR_RETURN(std::unique_ptr<FeedForward> mlp, load_mlp(c, loader, prefix));
  return DecoderLayer{std::move(input_norm), std::move(attention), std::move(post_norm),
                      std::move(mlp)};
}

}  // namespace

Result<ModelConfig> ParseLlamaLikeConfig(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig config, ParseCommonConfig(json));
  OCTAVO_ASSIGN_OR_RETURN(config.intermediate_size,
                          GetInt(json, "intermediate_size", 1, int64_t{1} << 24));
  OCTAVO_ASSIGN_OR_RETURN(config.norm_eps, GetDoubleOr(json, "rms_norm_eps", 1e-6));
  OCTAVO_ASSIGN_OR_RETURN(config.hidden_act, GetStringOr(json, "hidden_act", "silu"));
  OCTAVO_ASSIGN_OR_RETURN(config.rope, ParseRopeConfig(json, config.head_dim,
                                                       config.max_position_embeddings));
  return config;
}

Result<std::unique_ptr<FeedForward>> LoadGatedMlp(const ModelConfig& config, WeightLoader& loader,
                                                  const std::string& prefix) {
  OCTAVO_ASSIGN_OR_RETURN(Mlp mlp, LoadGatedMlp(config, loader, prefix + ".mlp",
                                                {"gate_proj", "up_proj", "down_proj"}));
  return std::unique_ptr<FeedForward>(std::make_unique<Mlp>(std::move(mlp)));
}

Result<Mlp> LoadGatedMlp(const ModelConfig& c, WeightLoader& loader, const std::string& module,
                         const GatedMlpNames& names) {
  OCTAVO_ASSIGN_OR_RETURN(const ActivationFunction act, ActivationFunctionFromName(c.hidden_act));
  if (act == ActivationFunction::kRelu) {
    return Unimplemented("hidden_act 'relu' in a gated MLP is not supported");
  }
  const auto name = [&](std::string_view leaf) { return fmt::format("{}.{}", module, leaf); };
  OCTAVO_ASSIGN_OR_RETURN(Linear up, loader.LoadLinear(name("gate_up_proj"),
                                                       {{name(names.gate), c.intermediate_size},
                                                        {name(names.up), c.intermediate_size}},
                                                       c.hidden_size, c.mlp_bias));
  OCTAVO_ASSIGN_OR_RETURN(Linear down,
                          loader.LoadLinear(name(names.down), {{name(names.down), c.hidden_size}},
                                            c.intermediate_size, c.mlp_bias));
  return Mlp(/*gated=*/true, act, std::move(up), std::move(down));
}

Result<std::unique_ptr<Model>> LoadLlamaLike(ModelConfig config, WeightLoader& loader) {
  return LoadLlamaLike(std::move(config), loader, LoadGatedMlp);
}

Result<std::unique_ptr<Model>> LoadLlamaLike(ModelConfig config, WeightLoader& loader,
                                             FeedForwardLoader load_mlp) {
  OCTAVO_ASSIGN_OR_RETURN(Embedding embedding,
                          loader.LoadEmbedding("model.embed_tokens.weight", config.vocab_size,
                                               config.hidden_size));
  OCTAVO_ASSIGN_OR_RETURN(auto rope, loader.MakeRopeTable(config));
  std::vector<DecoderLayer> layers;
  for (int i = 0; i < static_cast<int>(config.num_layers); ++i) {
    OCTAVO_ASSIGN_OR_RETURN(DecoderLayer layer, LoadLayer(config, loader, i, rope, load_mlp));
    layers.push_back(std::move(layer));
  }
  OCTAVO_ASSIGN_OR_RETURN(Norm norm,
                          loader.LoadNorm(Norm::Kind::kRms, "model.norm", config.hidden_size,
                                          static_cast<float>(config.norm_eps)));
  OCTAVO_ASSIGN_OR_RETURN(Linear lm_head,
                          loader.LoadLmHead("lm_head", "model.embed_tokens", config.vocab_size,
                                            config.hidden_size));
  return std::unique_ptr<Model>(std::make_unique<LlamaLikeModel>(
      std::move(config), std::move(embedding), std::move(layers), std::move(norm),
      std::move(lm_head), std::move(rope)));
}

std::vector<WeightPattern> LlamaLikeWeightMap() {
  return {
      {"model.embed_tokens", "embed_tokens"},
      {"model.layers.{}.input_layernorm", "input_layernorm"},
      {"model.layers.{}.self_attn.q_proj", "q_proj", true},
      {"model.layers.{}.self_attn.k_proj", "k_proj", true},
      {"model.layers.{}.self_attn.v_proj", "v_proj", true},
      {"model.layers.{}.self_attn.o_proj", "o_proj", true},
      {"model.layers.{}.post_attention_layernorm", "post_attention_layernorm"},
      {"model.layers.{}.mlp.gate_proj", "gate_proj", true},
      {"model.layers.{}.mlp.up_proj", "up_proj", true},
      {"model.layers.{}.mlp.down_proj", "down_proj", true},
      {"model.norm", "norm"},
      {"lm_head", "lm_head", true},
  };
}

std::vector<SmoothingSite> LlamaLikeSmoothing() {
  return {
      {"input_layernorm", {"q_proj", "k_proj", "v_proj"}},
      {"post_attention_layernorm", {"gate_proj", "up_proj"}},
      {"v_proj", {"o_proj"}},
      {"up_proj", {"down_proj"}, {"gate_proj"}},
  };
}

}  // namespace octavo
