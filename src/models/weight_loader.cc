// SPDX-License-Identifier: Apache-2.0
// Loads vectors, norms, embeddings and linears with their schemes.
#include "models/weight_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "schemes/dequantized_source.h"

namespace octavo {
namespace {

Status WrongShape(std::string_view name, const std::string& got, const std::string& want) {
  return DataLoss(fmt::format("tensor '{}' has shape {}, want {}", name, got, want));
}

Status CheckMatrix(const WeightSource& source, int64_t n, int64_t k) {
  if (source.spec().n == n && source.spec().k == k) return Status::Ok();
  return WrongShape(source.info().name, fmt::format("[{}, {}]", source.spec().n, source.spec().k),
                    fmt::format("[{}, {}]", n, k));
}

// The online scheme behind --lm-head-dtype; the activations stay in 16 bit.
Result<std::string_view> LmHeadScheme(const std::string& dtype) {
  if (dtype == "int8") return std::string_view("W8A16");
  if (dtype == "int4") return std::string_view("W4A16");
  return InvalidArgument(
      fmt::format("lm-head-dtype is '{}', want bf16, int8 or int4", dtype));
}

}  // namespace

Result<WeightLoader> WeightLoader::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                          const LoadOptions& options, IsaLevel isa,
                                          ThreadPool& pool) {
  OCTAVO_ASSIGN_OR_RETURN(LinearLoader linears,
                          LinearLoader::Create(*checkpoint, options.quantization, &pool));
  const std::filesystem::path folder = checkpoint->path();
  OCTAVO_ASSIGN_OR_RETURN(KeyCenters centers, ReadKeyCenters((folder / kKeyCenterFile).string()));
  WeightLoader loader(std::move(checkpoint), options, std::move(linears), isa, pool);
  loader.key_centers_ = std::move(centers);
  return loader;
}

WeightLoader::WeightLoader(std::shared_ptr<const Checkpoint> checkpoint, const LoadOptions& options,
                           LinearLoader linears, IsaLevel isa, ThreadPool& pool)
    : checkpoint_(std::move(checkpoint)), options_(options), linears_(std::move(linears)),
      isa_(isa), pool_(pool) {
  for (const StoredTensor& tensor : checkpoint_->tensors()) total_bytes_ += tensor.bytes;
}

// The first component that is a number is the layer's: "model.layers.0.mlp.experts.3.w1".
std::string WeightLoader::StoredName(const std::string& name) const {
  if (!options_.only || options_.only->first == 0) return name;
  for (size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1)) {
    const size_t end = name.find_first_not_of("0123456789", dot + 1);
    if (end == name.npos || end == dot + 1 || end - dot > 9 || name[end] != '.') continue;
    const int64_t layer = std::stoll(name.substr(dot + 1, end - dot - 1));
    return fmt::format("{}{}{}", name.substr(0, dot + 1), layer + options_.only->first,
                       name.substr(end));
  }
  return name;
}

Result<std::vector<float>> WeightLoader::LoadVector(const std::string& in_range, int64_t size) {
  const std::string name = StoredName(in_range);
  if (options_.overrides != nullptr) {
    const auto& vectors = options_.overrides->vectors;
    if (const auto it = vectors.find(name); it != vectors.end()) return it->second;
  }
  const StoredTensor* tensor = checkpoint_->Find(name);
  if (tensor == nullptr) return NotFound(fmt::format("tensor '{}' is missing", name));
  if (tensor->shape != Shape{size}) {
    return WrongShape(name, tensor->shape.ToString(), fmt::format("[{}]", size));
  }
  std::vector<float> values(static_cast<size_t>(size));
  OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadRowsF32(*tensor, 0, size, values.data()));
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return DataLoss(fmt::format("tensor '{}' element {} is {}", name, i, values[i]));
    }
  }
  return values;
}

Result<Norm> WeightLoader::LoadNorm(Norm::Kind kind, const std::string& module, int64_t size,
                                    float eps, bool affine) {
  std::vector<float> weight(static_cast<size_t>(size), 1.0f);
  std::vector<float> bias;
  if (affine) {
    OCTAVO_ASSIGN_OR_RETURN(weight, LoadVector(module + ".weight", size));
    if (kind == Norm::Kind::kLayer) {
      OCTAVO_ASSIGN_OR_RETURN(bias, LoadVector(module + ".bias", size));
    }
  }
  return Norm(kind, std::move(weight), std::move(bias), eps);
}

Result<Embedding> WeightLoader::LoadEmbedding(const std::string& name, int64_t rows, int64_t cols) {
  return Embedding::Load(checkpoint_, name, rows, cols);
}

// 0: none of the names is there, or the value says so.
Result<float> WeightLoader::FindScale(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    const StoredTensor* tensor = checkpoint_->Find(StoredName(name));
    if (tensor == nullptr) continue;
    if (tensor->shape.NumElements() != 1) {
      return Unimplemented(fmt::format("tensor '{}' has shape {}, want one scale per layer",
                                       tensor->name, tensor->shape.ToString()));
    }
    float scale = 0;
    OCTAVO_RETURN_IF_ERROR(checkpoint_->ReadRowsF32(*tensor, 0, 1, &scale));
    if (!std::isfinite(scale)) return DataLoss(fmt::format("tensor '{}' is {}", tensor->name, scale));
    return std::max(scale, 0.0f);
  }
  return 0.0f;
}

Result<WeightLoader::KvScales> WeightLoader::LoadKvScales(const std::string& attention) const {
  OCTAVO_ASSIGN_OR_RETURN(const float k,
                          FindScale({attention + ".k_scale", attention + ".k_proj.k_scale",
                                     attention + ".k_proj.output_scale", attention + ".kv_scale"}));
  OCTAVO_ASSIGN_OR_RETURN(const float v,
                          FindScale({attention + ".v_scale", attention + ".v_proj.v_scale",
                                     attention + ".v_proj.output_scale", attention + ".kv_scale"}));
  if (k == 0 && v == 0) return KvScales{};
  return KvScales{.k = k > 0 ? k : v, .v = v > 0 ? v : k};
}

Result<std::vector<float>> WeightLoader::FindKeyCenter(const std::string& attention,
                                                       int64_t size) const {
  const auto found = key_centers_.find(StoredName(attention));
  if (found == key_centers_.end()) return std::vector<float>();
  if (std::ssize(found->second) == size) return found->second;
  return DataLoss(fmt::format("{}: '{}' has {} values, want {}", kKeyCenterFile, found->first,
                              found->second.size(), size));
}

Result<std::shared_ptr<RopeTable>> WeightLoader::MakeRopeTable(const ModelConfig& config) const {
  const int64_t length =
      options_.max_model_len > 0 ? options_.max_model_len : config.max_position_embeddings;
  OCTAVO_ASSIGN_OR_RETURN(RopeTable table, RopeTable::Create(config.rope, length));
  return std::make_shared<RopeTable>(std::move(table));
}

// Schemes say what they run with; only 16-bit (and f32) weights follow the compute type. F16 has no
// bf16 product that keeps its bits, so it always meets f32.
ActivationFormat WeightLoader::FormatFor(const WeightSource& source) const {
  const WeightSpec& spec = source.spec();
  if (spec.code == CodeType::kF32 || spec.code == CodeType::kF16) return ActivationFormat::kF32;
  const bool plain = spec.code == CodeType::kBf16;
  if (plain && options_.dtype == ComputeDType::kFloat32) return ActivationFormat::kF32;
  const ActivationFormat format = source.info().activation;
  const bool gguf_blocks = format == ActivationFormat::kInt8Group32;
  return gguf_blocks && options_.gguf_activations == "16bit" ? ActivationFormat::kBf16 : format;
}

// The kernel is the one that PackedWeight::Pack chooses.
LinearPart WeightLoader::Describe(const std::string& module, const WeightSource& source) const {
  const ActivationFormat format = FormatFor(source);
  const GemmKernel* kernel = FindGemmKernel(source.spec(), format, isa_);
  return {.module = module,
          .scheme = std::string(source.info().scheme),
          .kernel = kernel == nullptr ? "none" : kernel->name,
          .note = source.info().note,
          .activation = format,
          .n = source.spec().n,
          .k = source.spec().k,
          .stored_bits = source.bits_per_weight(),
          .input_scale = source.info().input_scale};
}

Result<LinearPart> WeightLoader::DescribeLinear(const std::string& module) const {
  OCTAVO_ASSIGN_OR_RETURN(const Source source, linears_.OpenLinear(module));
  return Describe(module, *source);
}

Result<LinearPart> WeightLoader::DescribeLmHead(const std::string& module,
                                                const std::string& tied_to) const {
  OCTAVO_ASSIGN_OR_RETURN(const Source source, OpenLmHead(module, tied_to));
  return Describe(module, *source);
}

// Fused parts read one activation: the largest of their static scales, as vLLM takes it, or a scale
// per token where one of the parts wants that.
float WeightLoader::StaticScaleFor(ActivationFormat format, const std::vector<Source>& sources) const {
  float largest = 0;
  for (const Source& source : sources) {
    if (FormatFor(*source) != format) continue;
    if (source->info().input_scale == 0) return 0;
    largest = std::max(largest, source->info().input_scale);
  }
  return largest;
}

Result<Linear> WeightLoader::Pack(std::string slot, const std::vector<Source>& sources,
                                  const std::vector<std::string>& modules,
                                  std::vector<float> bias) {
  std::vector<WeightPart> parts;
  for (const Source& source : sources) {
    OCTAVO_ASSIGN_OR_RETURN(KeptColumns kept, source->ReadKeptColumns());
    parts.push_back({.spec = source->spec(),
                     .format = FormatFor(*source),
                     .rows = [&source](int64_t begin, int64_t count, WeightRows& rows) {
                       return source->ReadRows(begin, count, rows);
                     },
                     .outlier_threshold = source->info().outlier_threshold,
                     .kept = std::move(kept),
                     .static_scale = StaticScaleFor(FormatFor(*source), sources)});
  }
  OCTAVO_ASSIGN_OR_RETURN(PackedWeight packed, PackedWeight::Pack(parts, isa_, pool_));
  std::vector<LinearPart> reports;
  for (size_t i = 0; i < sources.size(); ++i) {
    reports.push_back(Describe(modules[i], *sources[i]));
    loaded_bytes_ += sources[i]->info().stored_bytes;
  }
  if (options_.progress) options_.progress(std::min(loaded_bytes_, total_bytes_), total_bytes_);
  return Linear(std::move(slot), std::move(packed), std::move(bias), std::move(reports));
}

Result<WeightLoader::Source> WeightLoader::OpenPart(const std::string& module) const {
  if (options_.overrides != nullptr) {
    OCTAVO_ASSIGN_OR_RETURN(Source source, options_.overrides->open(module));
    if (source != nullptr) return source;
  }
  return linears_.OpenLinear(module);
}

Result<Linear> WeightLoader::LoadLinear(std::string slot, const std::vector<Part>& parts, int64_t k,
                                        bool has_bias) {
  std::vector<Source> sources;
  std::vector<std::string> modules;
  std::vector<float> bias;
  for (const Part& part : parts) {
    const std::string module = StoredName(part.module);
    OCTAVO_ASSIGN_OR_RETURN(Source source, OpenPart(module));
    OCTAVO_RETURN_IF_ERROR(CheckMatrix(*source, part.n, k));
    if (has_bias) {
      OCTAVO_ASSIGN_OR_RETURN(const std::vector<float> values,
                              LoadVector(part.module + ".bias", part.n));
      bias.insert(bias.end(), values.begin(), values.end());
    }
    sources.push_back(std::move(source));
    modules.push_back(module);
  }
  return Pack(StoredName(slot), sources, modules, std::move(bias));
}

Result<WeightLoader::Source> WeightLoader::OpenLmHead(const std::string& module,
                                                      const std::string& tied_to) const {
  const bool own =
      Has(module + ".weight") || Has(module + ".weight_packed") || Has(module + ".qweight");
  const std::string& stored = own ? module : tied_to;
  const std::string& dtype = options_.lm_head_dtype;
  if (!dtype.empty() && dtype != "bf16") {
    OCTAVO_ASSIGN_OR_RETURN(const std::string_view name, LmHeadScheme(dtype));
    const int group = ChooseGroupSize(*checkpoint_, {stored}, 128);
    return OpenOnline(*checkpoint_, stored, {.scheme = FindScheme(name), .group_size = group},
                      &pool_);
  }
  OCTAVO_ASSIGN_OR_RETURN(Source source,
                          own ? linears_.OpenLinear(stored) : linears_.OpenEmbedding(stored));
  if (dtype == "bf16") return Source(MakeBf16Source(std::move(source)));
  return source;
}

Result<Linear> WeightLoader::LoadLmHead(const std::string& module, const std::string& tied_to,
                                        int64_t n, int64_t k) {
  if (options_.only && !options_.only->head) return Linear(module, PackedWeight(), {}, {});
  std::vector<Source> sources(1);
  OCTAVO_ASSIGN_OR_RETURN(sources[0], OpenLmHead(module, tied_to));
  OCTAVO_RETURN_IF_ERROR(CheckMatrix(*sources[0], n, k));
  return Pack(module, sources, {module}, {});
}

}  // namespace octavo
