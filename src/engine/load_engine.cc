// SPDX-License-Identifier: Apache-2.0
// Loads the model, then sizes the KV pool from what is left.
#include "engine/load_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

#include "io/checkpoint.h"
#include "kernels/attention/kv_dtype_name.h"
#include "models/load_model.h"
#include "schemes/quantization_config.h"

namespace octavo {
namespace {

// "auto" follows the checkpoint's KV scheme, else the type of arithmetic.
Status ResolveKvDType(const Checkpoint& checkpoint, EngineOptions& options) {
  if (options.kv_cache_dtype == "fp8") options.kv_cache_dtype = "fp8_e4m3";
  if (options.kv_cache_dtype != "auto") return Status::Ok();
  options.kv_cache_dtype = options.dtype;
  OCTAVO_ASSIGN_OR_RETURN(const auto config, QuantizationConfig::FromCheckpoint(checkpoint));
  if (!config.kv_cache()) return Status::Ok();
  const bool is_float = config.kv_cache()->type == QuantType::kFloat;
  if (is_float && config.kv_cache()->num_bits == 8) options.kv_cache_dtype = "fp8_e4m3";
  if (!is_float && config.kv_cache()->num_bits == 8) options.kv_cache_dtype = "int8";
  if (!is_float && config.kv_cache()->num_bits == 4) options.kv_cache_dtype = "int4";
  return Status::Ok();
}

// MemAvailable of the machine, lowered to the cgroup's limit if there is one.
uint64_t AvailableMemoryBytes() {
  uint64_t available = 0;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("MemAvailable:")) available = std::stoull(line.substr(13)) * 1024;
  }
  std::ifstream limit_file("/sys/fs/cgroup/memory.max");
  std::ifstream used_file("/sys/fs/cgroup/memory.current");
  uint64_t limit = 0;
  uint64_t used = 0;
  if (limit_file >> limit && used_file >> used && limit > used) {
    available = std::min(available, limit - used);
  }
  return available;
}

// Pages that one sequence of `tokens` needs at most.
int64_t BlocksOf(const EngineOptions& options, const std::vector<KvGroup>& groups, int64_t tokens) {
  BlockManagerOptions blocks{2, options.block_size, {}, false};
  for (const KvGroup& group : groups) blocks.windows.push_back(group.window);
  return BlockManager(blocks, BlockHasher({}, ""))
      .MaxBlocksOf(tokens, options.max_num_batched_tokens);
}

// num_kv_blocks (page 0 included) and max_model_len from memory and wishes.
Status SizePool(const std::vector<KvGroup>& groups, int64_t model_limit, EngineOptions& options) {
  const bool fixed_length = options.max_model_len > 0;
  if (!fixed_length) options.max_model_len = model_limit;
  if (options.max_model_len > model_limit) {
    return InvalidArgument(fmt::format("max_model_len: {}, the model's own limit is {}",
                                       options.max_model_len, model_limit));
  }
  const auto page = static_cast<uint64_t>(KvPoolPageBytes(groups));
  const int64_t useful =
      BlocksOf(options, groups, options.max_model_len) * options.max_num_seqs + 1;
  int64_t blocks = options.num_kv_blocks;
  if (blocks == 0 && options.kv_cache_memory_bytes > 0) {
    blocks = static_cast<int64_t>(options.kv_cache_memory_bytes / page);
  } else if (blocks == 0) {
    blocks = std::min(useful, static_cast<int64_t>(AvailableMemoryBytes() / 2 / page));
  }
  constexpr int64_t kMaxBlocks = int64_t{1} << 30;  // block ids are 32 bits
  blocks = std::min(blocks, kMaxBlocks);
  if (!fixed_length) {
    int64_t low = 0;  // the longest sequence that fits alone
    for (int64_t high = options.max_model_len; low < high;) {
      const int64_t middle = low + (high - low + 1) / 2;
      if (BlocksOf(options, groups, middle) <= blocks - 1) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    options.max_model_len = low;
  }
  const int64_t needed = BlocksOf(options, groups, std::max<int64_t>(options.max_model_len, 2)) + 1;
  if (options.max_model_len < 2 || needed > blocks) {
    return ResourceExhausted(fmt::format(
        "KV pool of {} blocks ({} bytes): too small for one sequence of {} tokens, want {} blocks",
        blocks, static_cast<uint64_t>(std::max<int64_t>(blocks, 0)) * page, options.max_model_len,
        needed));
  }
  options.num_kv_blocks = blocks;
  options.kv_cache_memory_bytes = static_cast<uint64_t>(blocks) * page;
  return Status::Ok();
}

std::vector<LayerPrecision> PrecisionOf(const Model& model) {
  std::vector<LayerPrecision> rows;
  for (const Linear* linear : model.linears()) {
    for (const LinearPart& part : linear->parts()) {
      LayerPrecision row;
      row.module = part.module;
      row.scheme = part.scheme;
      row.activation = NameOf(part.activation);
      row.accumulator = IsInt8(part.activation) ? "int32" : "f32";
      row.kernel = part.kernel;
      row.n = part.n;
      row.k = part.k;
      row.stored_bits = part.stored_bits;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

void FillInfo(const Model& model, const Checkpoint& checkpoint, IsaLevel isa,
              LoadedEngine& engine) {
  const ModelConfig& config = model.config();
  ModelInfo& info = engine.info;
  info.path = engine.options.model;
  info.architecture = config.architecture;
  info.model_type = config.model_type;
  info.num_layers = config.num_layers;
  info.hidden_size = config.hidden_size;
  info.vocab_size = config.vocab_size;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    info.num_parameters += tensor.rows() * tensor.cols();
  }
  info.max_model_len = engine.options.max_model_len;
  info.dtype = engine.options.dtype;
  info.kv_cache_dtype = engine.options.kv_cache_dtype;
  info.block_size = engine.options.block_size;
  info.num_kv_blocks = engine.options.num_kv_blocks;
  for (const Linear* linear : model.linears()) info.weight_bytes += linear->packed_bytes();
  ModelRunner& runner = engine.executor->runner();
  info.kv_cache_bytes = runner.kv().bytes();
  info.arena_bytes = runner.arena_bytes();
  for (const KvGroup& group : runner.kv().groups()) {
    info.kv_bytes_per_token += group.layout.page_bytes() * group.layers.size() /
                               static_cast<uint64_t>(engine.options.block_size);
  }
  info.isa = NameOf(isa);
  info.num_threads = engine.pool->num_threads();
  info.eos_token_ids = engine.text->end_tokens();
  info.has_chat_template = engine.text->chat_template() != nullptr;
}

void FillCoreOptions(LoadedEngine& engine) {
  const EngineOptions& o = engine.options;
  EngineCoreOptions& core = engine.core_options;
  core.scheduler = {o.max_num_seqs, o.max_num_batched_tokens, o.long_prefill_token_threshold,
                    o.scheduling_policy};
  core.blocks = {o.num_kv_blocks, o.block_size, {}, o.enable_prefix_caching};
  for (const KvGroup& group : engine.executor->runner().kv().groups()) {
    core.blocks.windows.push_back(group.window);
  }
  core.lookup = {o.num_speculative_tokens, o.prompt_lookup_max, o.prompt_lookup_min};
  core.end_tokens = engine.text->end_tokens();
  core.target_step_ms = o.target_step_ms;
  core.check_integrity = o.check_integrity;
}

}  // namespace

Result<LoadedEngine> LoadEngine(const EngineOptions& options,
                                const std::function<void(const LoadProgress&)>& progress) {
  OCTAVO_RETURN_IF_ERROR(options.Validate());
  LoadedEngine engine;
  engine.options = options;
  EngineOptions& o = engine.options;
  if (o.dtype == "auto") o.dtype = "bfloat16";
  o.max_num_seqs = std::min(o.max_num_seqs, o.max_num_batched_tokens);
  OCTAVO_ASSIGN_OR_RETURN(const IsaLevel isa, ActiveIsa());
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(o.model));
  OCTAVO_ASSIGN_OR_RETURN(engine.text, ModelText::Open(o, *checkpoint));
  OCTAVO_RETURN_IF_ERROR(ResolveKvDType(*checkpoint, o));
  engine.pool = std::make_unique<ThreadPool>(o.num_threads);
  o.num_threads = engine.pool->num_threads();

  LoadOptions load;
  load.dtype = o.dtype == "float32" ? ComputeDType::kFloat32 : ComputeDType::kBfloat16;
  load.quantization = o.quantization;
  load.lm_head_dtype = o.lm_head_dtype;
  load.gguf_activations = o.gguf_activations;
  load.max_model_len = o.max_model_len;
  if (progress) {
    load.progress = [&progress](uint64_t done, uint64_t total) {
      progress({"weights", done, total});
    };
  }
  OCTAVO_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
                          LoadModel(checkpoint, load, isa, *engine.pool));
  if (engine.text->tokenizer().vocab_size() > model->config().vocab_size) {
    return InvalidArgument(fmt::format("{}: tokenizer has {} tokens, the model {}", o.model,
                                       engine.text->tokenizer().vocab_size(),
                                       model->config().vocab_size));
  }
  const KvDType kv_dtype = FindKvDType(o.kv_cache_dtype).value_or(KvDType::kBf16);
  const auto groups = MakeKvGroups(model->kv_layers(), kv_dtype, o.block_size);
  OCTAVO_RETURN_IF_ERROR(SizePool(groups, model->config().max_position_embeddings, o));
  const RunnerOptions runner_options{kv_dtype, o.block_size, o.num_kv_blocks,
                                     o.max_num_batched_tokens};
  OCTAVO_ASSIGN_OR_RETURN(auto runner,
                          ModelRunner::Create(model, runner_options, isa, *engine.pool));
  engine.executor = std::make_unique<ModelExecutor>(std::move(runner), *engine.pool);
  engine.hash_context = fmt::format("{}|{}|{}", o.model, o.kv_cache_dtype, o.max_model_len);
  for (const KvLayerSpec& layer : model->kv_layers()) {
    engine.hash_context += fmt::format("|{},{}", layer.k_scale, layer.v_scale);
  }
  engine.precision = PrecisionOf(*model);
  FillInfo(*model, *checkpoint, isa, engine);
  FillCoreOptions(engine);
  return engine;
}

}  // namespace octavo
