// SPDX-License-Identifier: Apache-2.0
// Takes stock of the source and hands it to the target's writer.
#include "quantizers/convert_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "quantizers/convert_job.h"

namespace octavo {
namespace {

constexpr std::string_view kTargets =
    "gptq, awq, compressed-tensors, fp8, omniserve, qoq, gguf-q8_0, gguf-q4_0";

bool IsGgufTarget(const std::string& to) { return to == "gguf-q8_0" || to == "gguf-q4_0"; }

bool IsPlainFloat(DType type) {
  return type == DType::kBF16 || type == DType::kF16 || type == DType::kF32;
}

// The module whose codes the tensor holds; empty for any other tensor.
std::string QuantizedModule(const StoredTensor& tensor) {
  for (const std::string_view suffix : {".weight_packed", ".qweight", ".weight"}) {
    if (!tensor.name.ends_with(suffix)) continue;
    if (suffix == ".weight" && IsPlainFloat(tensor.dtype)) return {};
    return tensor.name.substr(0, tensor.name.size() - suffix.size());
  }
  return {};
}

// Scales and the like of a quantized module; its bias is a tensor of its own.
bool BelongsTo(const std::set<std::string>& modules, const std::string& name) {
  if (name.ends_with(".bias")) return false;
  for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1)) {
    if (modules.count(name.substr(0, dot)) != 0) return true;
  }
  return false;
}

Status RefuseForm(const WeightSource& source, const std::string& module, const std::string& to) {
  const std::string note = source.info().note.empty() ? "" : fmt::format(" ({})", source.info().note);
  return FailedPrecondition(fmt::format("{}: {} weights are no integers with one scale per row or group, "
                                        "and {} stores nothing else without loss{}",
                                        module, source.info().scheme, to, note));
}

Status CheckSource(const ConvertJob& job, const ConvertItem& item) {
  const std::string& to = job.options->to;
  const WeightSource& source = *item.source;
  if (to == "fp8" || to == "omniserve" || to == "qoq") return Status::Ok();  // their writers check
  if (!IsIntRows(source.spec())) return RefuseForm(source, item.name, to);
  const ActivationFormat activation = source.info().activation;
  if (activation != ActivationFormat::kBf16) {
    return FailedPrecondition(fmt::format("{}: {} runs with {} activations, which {} cannot say", item.name,
                                          source.info().scheme, NameOf(activation), to));
  }
  return Status::Ok();
}

Status TakeStock(ConvertJob& job) {
  std::set<std::string> modules;
  for (const StoredTensor& tensor : job.checkpoint->tensors()) {
    const std::string module = QuantizedModule(tensor);
    if (!module.empty()) modules.insert(module);
  }
  if (!modules.empty() && job.loader->config().kv_cache() && job.options->to != "fp8") {
    return FailedPrecondition(fmt::format("{}: holds scales of a quantized KV cache, which {} cannot say",
                                          job.checkpoint->path(), job.options->to));
  }
  for (const StoredTensor& tensor : job.checkpoint->tensors()) {
    const std::string module = QuantizedModule(tensor);
    if (module.empty()) {
      if (!BelongsTo(modules, tensor.name)) job.items.push_back({tensor.name, &tensor, nullptr});
      continue;
    }
    OCTAVO_ASSIGN_OR_RETURN(auto source, job.loader->OpenLinear(module));
    job.items.push_back({module, &tensor, std::move(source)});
    OCTAVO_RETURN_IF_ERROR(CheckSource(job, job.items.back()));
  }
  if (modules.empty() && !IsGgufTarget(job.options->to)) {
    return FailedPrecondition(fmt::format("{}: is not quantized; octavo quantize makes 4- and 8-bit "
                                          "checkpoints, and --to gguf-q8_0 or gguf-q4_0 takes 16-bit ones",
                                          job.checkpoint->path()));
  }
  return Status::Ok();
}

Status CheckOptions(const ConvertOptions& options) {
  for (const std::string_view target :
       {"gptq", "awq", "compressed-tensors", "fp8", "omniserve", "qoq"}) {
    if (options.to == target) return Status::Ok();
  }
  if (IsGgufTarget(options.to)) return Status::Ok();
  return InvalidArgument(fmt::format("--to '{:.40}': want one of {}", options.to, kTargets));
}

}  // namespace

std::string ConvertTargets() { return std::string(kTargets); }

Status ForRowBlocks(const ConvertJob& job, int64_t num_rows, uint64_t bytes,
                    const std::function<Status(int64_t row_begin, int64_t count)>& step) {
  std::mutex mutex;
  Status status;
  job.pool->ParallelFor(num_rows, kConvertRows, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t row = begin; row < end; row += kConvertRows) {
      {
        const std::lock_guard lock(mutex);
        if (!status.ok()) return;
      }
      const int64_t count = std::min(kConvertRows, end - row);
      Status done = step(row, count);
      const std::lock_guard lock(mutex);
      if (done.ok()) {
        done = job.advance(bytes / static_cast<uint64_t>(num_rows) * static_cast<uint64_t>(count));
      }
      if (status.ok()) status = std::move(done);
    }
  });
  return status;
}

Result<ConvertResult> ConvertCheckpoint(const ConvertOptions& options, const ConvertProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_RETURN_IF_ERROR(CheckOptions(options));
  OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(options.model));
  if (checkpoint->is_gguf()) {
    return InvalidArgument(fmt::format("{}: is a GGUF file; octavo import expands it into a folder",
                                       options.model));
  }
  OCTAVO_ASSIGN_OR_RETURN(const LinearLoader loader, LinearLoader::Create(*checkpoint));
  if (loader.config().method() == options.to) {
    return FailedPrecondition(fmt::format("{}: is stored as {} already", options.model, options.to));
  }
  ThreadPool pool(options.threads);
  uint64_t total = 0;
  uint64_t done = 0;
  for (const StoredTensor& tensor : checkpoint->tensors()) total += tensor.bytes;
  ConvertJob job{.options = &options,
                 .checkpoint = checkpoint.get(),
                 .loader = &loader,
                 .items = {},
                 .pool = &pool,
                 .advance = {}};
  job.advance = [&](uint64_t bytes) -> Status {
    done = std::min(done + bytes, total);
    if (progress) progress(done, total);
    if (options.cancel != nullptr && options.cancel->load()) return Cancelled("interrupted");
    return Status::Ok();
  };
  OCTAVO_RETURN_IF_ERROR(TakeStock(job));
  ConvertResult result;
  OCTAVO_RETURN_IF_ERROR(IsGgufTarget(options.to) ? ConvertToGguf(job, result)
                                                  : ConvertToFolder(job, result));
  if (progress) progress(total, total);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace octavo
