// SPDX-License-Identifier: Apache-2.0
// OPT (arXiv:2205.01068): LayerNorm, biases everywhere, learned positions, ReLU, no rotary embedding.
//
// embed -> project_in -> + position -> layers -> final norm -> project_out -> tied head.
// do_layer_norm_before (all sizes but 350m): h += attn(norm(h)); h += mlp(norm(h)).
// Otherwise (350m) the norm follows each residual add: h = norm(h + attn(h)).
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "layers/attention.h"
#include "layers/embedding.h"
#include "layers/mlp.h"
#include "layers/norm.h"
#include "models/model.h"
#include "models/weight_loader.h"

namespace octavo {
namespace {

constexpr int64_t kPositionOffset = 2;  // row of position 0 in embed_positions
constexpr float kNormEps = 1e-5f;       // torch.nn.LayerNorm's default

struct OptExtras {
  bool norm_before = true;
  bool final_norm = true;
  bool affine = true;
  bool bias = true;
  int64_t word_embed_proj_dim = 0;
};

Result<OptExtras> ParseExtras(const Json& json, int64_t hidden_size) {
  OptExtras extras;
  OCTAVO_ASSIGN_OR_RETURN(extras.norm_before, GetBoolOr(json, "do_layer_norm_before", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool removed, GetBoolOr(json, "_remove_final_layer_norm", false));
  extras.final_norm = extras.norm_before && !removed;
  OCTAVO_ASSIGN_OR_RETURN(extras.affine, GetBoolOr(json, "layer_norm_elementwise_affine", true));
  OCTAVO_ASSIGN_OR_RETURN(extras.bias, GetBoolOr(json, "enable_bias", true));
  OCTAVO_ASSIGN_OR_RETURN(
      extras.word_embed_proj_dim,
      GetIntOr(json, "word_embed_proj_dim", hidden_size, 1, int64_t{1} << 24));
  return extras;
}

Result<ModelConfig> ParseConfig(const Json& json) {
  OCTAVO_ASSIGN_OR_RETURN(ModelConfig config, ParseCommonConfig(json));
  OCTAVO_ASSIGN_OR_RETURN(config.intermediate_size, GetInt(json, "ffn_dim", 1, int64_t{1} << 24));
  OCTAVO_ASSIGN_OR_RETURN(config.hidden_act, GetStringOr(json, "activation_function", "relu"));
  OCTAVO_ASSIGN_OR_RETURN(config.tie_word_embeddings,
                          GetBoolOr(json, "tie_word_embeddings", true));
  OCTAVO_RETURN_IF_ERROR(ParseExtras(json, config.hidden_size).status());
  config.norm_eps = kNormEps;
  config.extra = json;
  return config;
}

struct OptLayer {
  Norm attention_norm;
  SelfAttention attention;
  Norm mlp_norm;
  Mlp mlp;
};

struct OptWeights {
  Embedding tokens;
  Embedding positions;
  std::optional<Linear> project_in;
  std::optional<Linear> project_out;
  std::vector<OptLayer> layers;
  std::optional<Norm> final_norm;
  Linear lm_head;
};

class OptModel : public Model {
 public:
  OptModel(ModelConfig config, const OptExtras& extras, OptWeights weights)
      : Model(std::move(config)), extras_(extras), w_(std::move(weights)) {}

  std::vector<KvLayerSpec> kv_layers() const override {
    std::vector<KvLayerSpec> out;
    for (const OptLayer& layer : w_.layers) out.push_back(layer.attention.config().kv());
    return out;
  }

  Status Reserve(Workspace& ws, int num_threads) const override {
    const int64_t hidden = config().hidden_size;
    OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kHidden, hidden));
    OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kBranch, hidden));
    OCTAVO_RETURN_IF_ERROR(ws.Reserve(Workspace::Role::kFinal, extras_.word_embed_proj_dim));
    OCTAVO_RETURN_IF_ERROR(ws.ReserveThreadScratch(num_threads, hidden));
    for (const Linear* linear : linears()) {
      OCTAVO_RETURN_IF_ERROR(
          ws.activations().Reserve(linear->inputs(), ws.max_tokens(), linear->k()));
    }
    for (const OptLayer& layer : w_.layers) {
      OCTAVO_RETURN_IF_ERROR(layer.attention.Reserve(ws));
      OCTAVO_RETURN_IF_ERROR(layer.mlp.Reserve(ws, num_threads));
    }
    return Status::Ok();
  }

  Status Embed(Step& step) const override {
    const ArenaMatrix hidden = step.Hidden(config().hidden_size);
    std::vector<int32_t> rows(step.batch.positions);
    for (int32_t& row : rows) row += static_cast<int32_t>(kPositionOffset);
    if (w_.project_in) {
      const ArenaMatrix words = step.ws.Matrix(Workspace::Role::kFinal, extras_.word_embed_proj_dim);
      OCTAVO_RETURN_IF_ERROR(w_.tokens.Gather(step.batch.tokens, words, false));
      ProduceActivations(step, words, step.batch.num_tokens(), extras_.word_embed_proj_dim,
                         w_.project_in->inputs());
      w_.project_in->Forward(step, step.ws.activations(), hidden, false);
    } else {
      OCTAVO_RETURN_IF_ERROR(w_.tokens.Gather(step.batch.tokens, hidden, false));
    }
    return w_.positions.Gather(rows, hidden, true);
  }

  void Layer(int64_t index, Step& step) const override {
    const OptLayer& layer = w_.layers[static_cast<size_t>(index)];
    Residual(step, layer.attention_norm, layer.attention.qkv().inputs(),
             [&](ArenaMatrix hidden) { layer.attention.Forward(step, hidden, true); });
    Residual(step, layer.mlp_norm, layer.mlp.inputs(),
             [&](ArenaMatrix hidden) { layer.mlp.Forward(step, hidden, true); });
  }

  void Finish(Step& step, std::span<const int64_t> rows, float* logits) const override {
    const ArenaMatrix hidden = step.Hidden(config().hidden_size);
    const Linear& first = w_.project_out ? *w_.project_out : w_.lm_head;
    if (w_.final_norm) {
      w_.final_norm->ProduceRows(step, hidden, rows, first.inputs());
    } else {
      ProduceActivationRows(step, hidden, rows, config().hidden_size, first.inputs());
    }
    if (w_.project_out) {
      const ArenaMatrix words = step.ws.Matrix(Workspace::Role::kFinal, extras_.word_embed_proj_dim);
      w_.project_out->Forward(step, step.ws.activations(), words, false);
      ProduceActivations(step, words, static_cast<int64_t>(rows.size()),
                         extras_.word_embed_proj_dim, w_.lm_head.inputs());
    }
    w_.lm_head.Forward(step, step.ws.activations(),
                       {.data = logits, .row_stride = config().vocab_size}, false);
  }

  void FinalHidden(const Step& step, int64_t row, float* hidden) const override {
    const float* x = step.Hidden(config().hidden_size).Row(row);
    if (w_.final_norm) {
      w_.final_norm->Row(step.isa, x, hidden);
    } else {
      std::copy_n(x, config().hidden_size, hidden);
    }
  }

  std::vector<const Linear*> linears() const override {
    std::vector<const Linear*> out;
    if (w_.project_in) out.push_back(&*w_.project_in);
    for (const OptLayer& layer : w_.layers) {
      out.insert(out.end(), {&layer.attention.qkv(), &layer.attention.out()});
      for (const Linear* linear : layer.mlp.linears()) out.push_back(linear);
    }
    if (w_.project_out) out.push_back(&*w_.project_out);
    out.push_back(&w_.lm_head);
    return out;
  }

 private:
  // One residual branch with the norm before or after it.
  template <typename Branch>
  void Residual(Step& step, const Norm& norm, std::span<const ActivationSpec> formats,
                const Branch& branch) const {
    const ArenaMatrix hidden = step.Hidden(config().hidden_size);
    const int64_t rows = step.batch.num_tokens();
    if (extras_.norm_before) {
      norm.Produce(step, hidden, rows, formats);
      branch(hidden);
      return;
    }
    ProduceActivations(step, hidden, rows, config().hidden_size, formats);
    branch(hidden);
    norm.InPlace(step, hidden, rows);
  }

  OptExtras extras_;
  OptWeights w_;
};

Result<OptLayer> LoadLayer(const ModelConfig& c, const OptExtras& extras, WeightLoader& loader,
                           const std::string& prefix, int index) {
  const int64_t hidden = c.hidden_size;
  const std::string attn = prefix + ".self_attn";
  const auto load_norm = [&](const std::string& name) {
    return loader.LoadNorm(Norm::Kind::kLayer, prefix + name, hidden, kNormEps, extras.affine);
  };
  OCTAVO_ASSIGN_OR_RETURN(Norm attention_norm, load_norm(".self_attn_layer_norm"));
  OCTAVO_ASSIGN_OR_RETURN(Linear qkv, loader.LoadLinear(attn + ".qkv_proj",
                                                        {{attn + ".q_proj", hidden},
                                                         {attn + ".k_proj", hidden},
                                                         {attn + ".v_proj", hidden}},
                                                        hidden, extras.bias));
  OCTAVO_ASSIGN_OR_RETURN(Linear out, loader.LoadLinear(attn + ".out_proj",
                                                        {{attn + ".out_proj", hidden}}, hidden,
                                                        extras.bias));
  OCTAVO_ASSIGN_OR_RETURN(Norm mlp_norm, load_norm(".final_layer_norm"));
  OCTAVO_ASSIGN_OR_RETURN(
      Linear fc1, loader.LoadLinear(prefix + ".fc1", {{prefix + ".fc1", c.intermediate_size}},
                                    hidden, extras.bias));
  OCTAVO_ASSIGN_OR_RETURN(Linear fc2, loader.LoadLinear(prefix + ".fc2", {{prefix + ".fc2", hidden}},
                                                        c.intermediate_size, extras.bias));
  OCTAVO_ASSIGN_OR_RETURN(const ActivationFunction act, ActivationFunctionFromName(c.hidden_act));
  OCTAVO_ASSIGN_OR_RETURN(const WeightLoader::KvScales kv, loader.LoadKvScales(attn));
  const AttentionConfig config{
      .layer = index,
      .num_heads = c.num_heads,
      .num_kv_heads = c.num_kv_heads,
      .head_dim = c.head_dim,
      .softmax_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim))),
      .k_scale = kv.k,
      .v_scale = kv.v};
  return OptLayer{std::move(attention_norm),
                  SelfAttention(config, nullptr, std::move(qkv), std::move(out)),
                  std::move(mlp_norm), Mlp(false, act, std::move(fc1), std::move(fc2))};
}

Result<std::unique_ptr<Model>> Load(ModelConfig config, WeightLoader& loader) {
  OCTAVO_ASSIGN_OR_RETURN(const OptExtras extras, ParseExtras(config.extra, config.hidden_size));
  // Some published files drop the "model." prefix.
  const std::string root =
      loader.Has("model.decoder.embed_tokens.weight") ? "model.decoder" : "decoder";
  const int64_t words = extras.word_embed_proj_dim;
  OCTAVO_ASSIGN_OR_RETURN(Embedding tokens, loader.LoadEmbedding(root + ".embed_tokens.weight",
                                                                 config.vocab_size, words));
  OCTAVO_ASSIGN_OR_RETURN(
      Embedding positions,
      loader.LoadEmbedding(root + ".embed_positions.weight",
                           config.max_position_embeddings + kPositionOffset, config.hidden_size));
  std::optional<Linear> project_in, project_out;
  if (words != config.hidden_size) {
    OCTAVO_ASSIGN_OR_RETURN(project_in,
                            loader.LoadLinear(root + ".project_in",
                                              {{root + ".project_in", config.hidden_size}}, words,
                                              false));
    OCTAVO_ASSIGN_OR_RETURN(project_out,
                            loader.LoadLinear(root + ".project_out",
                                              {{root + ".project_out", words}},
                                              config.hidden_size, false));
  }
  std::vector<OptLayer> layers;
  for (int i = 0; i < static_cast<int>(config.num_layers); ++i) {
    OCTAVO_ASSIGN_OR_RETURN(
        OptLayer layer, LoadLayer(config, extras, loader, fmt::format("{}.layers.{}", root, i), i));
    layers.push_back(std::move(layer));
  }
  std::optional<Norm> final_norm;
  if (extras.final_norm) {
    OCTAVO_ASSIGN_OR_RETURN(final_norm,
                            loader.LoadNorm(Norm::Kind::kLayer, root + ".final_layer_norm",
                                            config.hidden_size, kNormEps, extras.affine));
  }
  OCTAVO_ASSIGN_OR_RETURN(
      Linear lm_head,
      loader.LoadLmHead("lm_head", root + ".embed_tokens", config.vocab_size, words));
  OptWeights weights{std::move(tokens),      std::move(positions), std::move(project_in),
                     std::move(project_out), std::move(layers),    std::move(final_norm),
                     std::move(lm_head)};
  return std::unique_ptr<Model>(
      std::make_unique<OptModel>(std::move(config), extras, std::move(weights)));
}

// A norm after the residual add feeds the residual too, and without weights there is nothing to fold
// into. ReLU alone lets a scale pass from fc1 to fc2.
bool CanSmooth(const ModelConfig& config) {
  const auto extras = ParseExtras(config.extra, config.hidden_size);
  return extras.ok() && extras->norm_before && extras->affine && config.hidden_act == "relu";
}

std::vector<WeightPattern> WeightMap() {
  return {
      {"model.decoder.embed_tokens", "embed_tokens"},
      {"model.decoder.embed_positions", "embed_positions"},
      {"model.decoder.project_in", "project_in", true},
      {"model.decoder.project_out", "project_out", true},
      {"model.decoder.layers.{}.self_attn_layer_norm", "self_attn_layer_norm"},
      {"model.decoder.layers.{}.self_attn.q_proj", "q_proj", true},
      {"model.decoder.layers.{}.self_attn.k_proj", "k_proj", true},
      {"model.decoder.layers.{}.self_attn.v_proj", "v_proj", true},
      {"model.decoder.layers.{}.self_attn.out_proj", "out_proj", true},
      {"model.decoder.layers.{}.final_layer_norm", "final_layer_norm"},
      {"model.decoder.layers.{}.fc1", "fc1", true},
      {"model.decoder.layers.{}.fc2", "fc2", true},
      {"model.decoder.final_layer_norm", "norm"},
      {"lm_head", "lm_head", true},
  };
}

}  // namespace

extern const ModelArch kArch_opt;
const ModelArch kArch_opt = {
    .name = "opt",
    .hf_architectures = {"OPTForCausalLM"},
    .parse_config = ParseConfig,
    .load = Load,
    .weight_map = WeightMap(),
    .smoothing = {{"self_attn_layer_norm", {"q_proj", "k_proj", "v_proj"}},
                  {"final_layer_norm", {"fc1"}},
                  {"v_proj", {"out_proj"}},
                  {"fc1", {"fc2"}}},
    .smoothing_strength = 0.5f,
    .can_smooth = CanSmooth,
};

}  // namespace octavo
