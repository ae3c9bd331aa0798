// SPDX-License-Identifier: Apache-2.0
// GGUF tensor names and layouts to Hugging Face's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>

#include "io/gguf_model.h"

namespace octavo {
namespace {

enum Family : unsigned { kLlama = 1, kQwen = 2, kGemma = 4, kPhi3 = 8, kAll = 15 };

struct NameRow {
  std::string_view gguf;
  std::string_view hf;
  unsigned families;
};

// Outside of the layers; the suffix .weight or .bias is kept.
constexpr std::array kGlobalNames = {
    NameRow{"token_embd", "model.embed_tokens", kAll},
    NameRow{"output_norm", "model.norm", kAll},
    NameRow{"output", "lm_head", kAll},
};

// After "blk.N."; becomes "model.layers.N.".
constexpr std::array kLayerNames = {
    NameRow{"attn_norm", "input_layernorm", kAll},
    NameRow{"attn_q", "self_attn.q_proj", kLlama | kQwen | kGemma},
    NameRow{"attn_k", "self_attn.k_proj", kLlama | kQwen | kGemma},
    NameRow{"attn_v", "self_attn.v_proj", kLlama | kQwen | kGemma},
    NameRow{"attn_qkv", "self_attn.qkv_proj", kPhi3},
    NameRow{"attn_output", "self_attn.o_proj", kAll},
    NameRow{"attn_q_norm", "self_attn.q_norm", kQwen | kGemma},
    NameRow{"attn_k_norm", "self_attn.k_norm", kQwen | kGemma},
    NameRow{"ffn_norm", "post_attention_layernorm", kLlama | kQwen | kPhi3},
    NameRow{"ffn_norm", "pre_feedforward_layernorm", kGemma},
    NameRow{"post_attention_norm", "post_attention_layernorm", kGemma},
    NameRow{"post_ffw_norm", "post_feedforward_layernorm", kGemma},
    NameRow{"ffn_gate", "mlp.gate_proj", kLlama | kQwen | kGemma},
    NameRow{"ffn_up", "mlp.up_proj", kLlama | kQwen | kGemma},
    NameRow{"ffn_up", "mlp.gate_up_proj", kPhi3},
    NameRow{"ffn_down", "mlp.down_proj", kAll},
    NameRow{"ffn_gate_inp", "block_sparse_moe.gate", kLlama},
};

// Experts: stacked as blk.N.ffn_gate_exps [E, ...], or one by one as blk.N.ffn_gate.E.
constexpr std::array kExpertNames = {
    NameRow{"ffn_gate", "w1", kLlama},
    NameRow{"ffn_down", "w2", kLlama},
    NameRow{"ffn_up", "w3", kLlama},
};

// Tables that belong to the config rather than to the weights.
constexpr std::array<std::string_view, 4> kNoWeights = {"rope_freqs", "rope_factors_long",
                                                        "rope_factors_short", "attn_rot_embd"};

Result<unsigned> FamilyOf(const std::string& architecture) {
  if (architecture == "llama") return kLlama;
  if (architecture == "qwen2" || architecture == "qwen3") return kQwen;
  if (architecture == "gemma2" || architecture == "gemma3") return kGemma;
  if (architecture == "phi3") return kPhi3;
  return Unimplemented(
      fmt::format("architecture '{}', want llama, qwen2, qwen3, gemma2, gemma3 or phi3",
                  architecture.substr(0, 100)));
}

template <size_t kRows>
std::string_view LookUp(const std::array<NameRow, kRows>& table, std::string_view name,
                        unsigned family) {
  for (const NameRow& row : table) {
    if (row.gguf == name && (row.families & family) != 0) return row.hf;
  }
  return {};
}

template <size_t kRows>
std::string_view ReverseLookUp(const std::array<NameRow, kRows>& table, std::string_view hf,
                               unsigned family) {
  for (const NameRow& row : table) {
    if (row.hf == hf && (row.families & family) != 0) return row.gguf;
  }
  return {};
}

// llm-compressor saves Mixtral's experts under the names that other architectures use.
std::string_view ExpertSlot(std::string_view slot) {
  if (slot == "gate_proj") return "w1";
  if (slot == "down_proj") return "w2";
  return slot == "up_proj" ? "w3" : slot;
}

// A GGUF name taken apart: [blk.LAYER.]BASE.SUFFIX, with LAYER and SUFFIX possibly empty.
struct NameParts {
  std::string_view layer;
  std::string_view base;
  std::string_view suffix;
};

bool IsNumber(std::string_view text) {
  return !text.empty() && text.size() <= 6 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

NameParts Split(std::string_view name) {
  NameParts parts;
  if (name.starts_with("blk.")) {
    const size_t dot = name.find('.', 4);
    if (dot != std::string_view::npos && IsNumber(name.substr(4, dot - 4))) {
      parts.layer = name.substr(4, dot - 4);
      name.remove_prefix(dot + 1);
    }
  }
  const size_t dot = name.rfind('.');
  parts.base = name.substr(0, dot);
  if (dot != std::string_view::npos) parts.suffix = name.substr(dot + 1);
  return parts;
}

class Mapper {
 public:
  Mapper(const GgufReader& gguf, unsigned family) : gguf_(gguf), family_(family) {}

  Result<std::vector<StoredTensor>> Run() {
    for (const GgufTensor& tensor : gguf_.tensors()) {
      if (Status status = Map(tensor); !status.ok()) {
        return std::move(status).WithContext(fmt::format("tensor '{}'", tensor.name));
      }
    }
    std::unordered_set<std::string_view> names;
    for (const StoredTensor& tensor : tensors_) {
      if (names.insert(tensor.name).second) continue;
      return DataLoss(fmt::format("two tensors map to '{}'", tensor.name));
    }
    return std::move(tensors_);
  }

 private:
  Status Map(const GgufTensor& tensor) {
    const NameParts parts = Split(tensor.name);
    if (std::find(kNoWeights.begin(), kNoWeights.end(), parts.base) != kNoWeights.end()) {
      return Status::Ok();
    }
    if (parts.suffix != "weight" && parts.suffix != "bias") return NoCounterpart();
    if (parts.layer.empty()) {
      const std::string_view hf = LookUp(kGlobalNames, parts.base, family_);
      return hf.empty() ? NoCounterpart() : Add(tensor, fmt::format("{}.{}", hf, parts.suffix));
    }
    const std::string_view hf = LookUp(kLayerNames, parts.base, family_);
    if (!hf.empty()) {
      return Add(tensor, fmt::format("model.layers.{}.{}.{}", parts.layer, hf, parts.suffix));
    }
    return MapExperts(tensor, parts);
  }

  Status MapExperts(const GgufTensor& tensor, const NameParts& parts) {
    const auto name = [&](std::string_view slot, auto expert) {
      return fmt::format("model.layers.{}.block_sparse_moe.experts.{}.{}.{}", parts.layer, expert,
                         slot, parts.suffix);
    };
    if (const size_t dot = parts.base.find('.'); dot != std::string_view::npos) {
      const std::string_view slot = LookUp(kExpertNames, parts.base.substr(0, dot), family_);
      const std::string_view expert = parts.base.substr(dot + 1);
      return slot.empty() || !IsNumber(expert) ? NoCounterpart() : Add(tensor, name(slot, expert));
    }
    if (!parts.base.ends_with("_exps")) return NoCounterpart();
    const std::string_view slot =
        LookUp(kExpertNames, parts.base.substr(0, parts.base.size() - 5), family_);
    if (slot.empty()) return NoCounterpart();
    if (tensor.shape.rank() != 3) {
      return DataLoss(fmt::format("shape {}, want 3 dimensions", tensor.shape.ToString()));
    }
    const int64_t num_experts = tensor.shape[0];
    if (num_experts > kMaxExperts) {
      return DataLoss(fmt::format("{} experts, want at most {}", num_experts, kMaxExperts));
    }
    GgufTensor expert = tensor;
    expert.shape = Shape{tensor.shape[1], tensor.shape[2]};
    expert.bytes = tensor.bytes / static_cast<uint64_t>(num_experts);
    for (int64_t i = 0; i < num_experts; ++i, expert.offset += expert.bytes) {
      OCTAVO_RETURN_IF_ERROR(Add(expert, name(slot, i)));
    }
    return Status::Ok();
  }

  Status NoCounterpart() const {
    return Unimplemented(
        fmt::format("has no counterpart in architecture '{}'", gguf_.architecture()));
  }

  Status Add(const GgufTensor& tensor, std::string name) {
    if (tensors_.size() >= kMaxStoredTensors) return DataLoss("too many tensors");
    StoredTensor stored;
    stored.name = std::move(name);
    stored.shape = tensor.shape;
    stored.file = &gguf_.file();
    stored.offset = tensor.offset;
    stored.bytes = tensor.bytes;
    switch (tensor.type) {
      case GgmlType::kF32:
        stored.dtype = DType::kF32;
        break;
      case GgmlType::kF16:
        stored.dtype = DType::kF16;
        break;
      case GgmlType::kBF16:
        stored.dtype = DType::kBF16;
        break;
      default:
        stored.dtype = DType::kBF16;
        stored.ggml_type = tensor.type;
    }
    if (stored.ggml_type && stored.shape.rank() < 2) {
      return Unimplemented(fmt::format("a vector of type {}", InfoOf(tensor.type).name));
    }
    if ((family_ & kGemma) != 0 && stored.name.ends_with("norm.weight"))
      stored.value_offset = -1.0f;
    if ((family_ & kLlama) != 0) OCTAVO_RETURN_IF_ERROR(SetInterleaving(stored));
    tensors_.push_back(std::move(stored));
    return Status::Ok();
  }

  // llama.cpp's converter interleaves the rows of q and k for this architecture only.
  Status SetInterleaving(StoredTensor& stored) const {
    const bool is_q = stored.name.find(".self_attn.q_proj.") != std::string::npos;
    const bool is_k = stored.name.find(".self_attn.k_proj.") != std::string::npos;
    if (!is_q && !is_k) return Status::Ok();
    const GgufMetadata& metadata = gguf_.metadata();
    OCTAVO_ASSIGN_OR_RETURN(int64_t heads, metadata.GetInt("llama.attention.head_count"));
    if (is_k) {
      OCTAVO_ASSIGN_OR_RETURN(heads, metadata.GetIntOr("llama.attention.head_count_kv", heads));
    }
    if (heads < 1 || heads > stored.rows() || stored.rows() % (2 * heads) != 0) {
      return DataLoss(
          fmt::format("{} rows do not divide into {} heads of even size", stored.rows(), heads));
    }
    stored.interleaved_heads = heads;
    return Status::Ok();
  }

  static constexpr int64_t kMaxExperts = 4096;
  static constexpr size_t kMaxStoredTensors = size_t{1} << 18;

  const GgufReader& gguf_;
  unsigned family_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace

Result<GgufName> GgufNameOf(const std::string& architecture, std::string_view hf_name) {
  OCTAVO_ASSIGN_OR_RETURN(const unsigned family, FamilyOf(architecture));
  const auto unknown = [&] {
    return Unimplemented(fmt::format("tensor '{:.100}' has no counterpart in GGUF's architecture '{}'",
                                     hf_name, architecture));
  };
  const size_t dot = hf_name.rfind('.');
  if (dot == std::string_view::npos) return unknown();
  const std::string_view module = hf_name.substr(0, dot);
  const std::string_view suffix = hf_name.substr(dot + 1);
  if (suffix != "weight" && suffix != "bias") return unknown();
  constexpr std::string_view kLayers = "model.layers.";
  if (!module.starts_with(kLayers)) {
    const std::string_view base = ReverseLookUp(kGlobalNames, module, family);
    if (base.empty()) return unknown();
    return GgufName{fmt::format("{}.{}", base, suffix), -1};
  }
  const std::string_view rest = module.substr(kLayers.size());
  const size_t end = rest.find('.');
  if (end == std::string_view::npos || !IsNumber(rest.substr(0, end))) return unknown();
  const std::string_view layer = rest.substr(0, end);
  const std::string_view slot = rest.substr(end + 1);
  if (const std::string_view base = ReverseLookUp(kLayerNames, slot, family); !base.empty()) {
    return GgufName{fmt::format("blk.{}.{}.{}", layer, base, suffix), -1};
  }
  constexpr std::string_view kExperts = "block_sparse_moe.experts.";
  const size_t last = slot.rfind('.');
  if (!slot.starts_with(kExperts) || last <= kExperts.size()) return unknown();
  const std::string_view expert = slot.substr(kExperts.size(), last - kExperts.size());
  const std::string_view base =
      ReverseLookUp(kExpertNames, ExpertSlot(slot.substr(last + 1)), family);
  if (base.empty() || !IsNumber(expert)) return unknown();
  return GgufName{fmt::format("blk.{}.{}_exps.{}", layer, base, suffix), std::stoll(std::string(expert))};
}

Result<std::vector<StoredTensor>> MapGgufTensors(const GgufReader& gguf) {
  OCTAVO_ASSIGN_OR_RETURN(const unsigned family, FamilyOf(gguf.architecture()));
  return Mapper(gguf, family).Run();
}

}  // namespace octavo
