// SPDX-License-Identifier: Apache-2.0
// Quantization of a whole checkpoint, from disk to disk: streamed without data, or calibrated layer by
// layer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "octavo/status.h"
#include "quantizers/calibration_data.h"
#include "quantizers/calibration_report.h"
#include "quantizers/gptq.h"
#include "quantizers/qoq_options.h"
#include "quantizers/quantize_recipe.h"
#include "quantizers/rotate_checkpoint.h"

namespace octavo {

struct QuantizeOptions {
  std::string model;   // Hugging Face folder or .gguf file, not quantized by another scheme
  std::string output;  // folder to create
  std::string scheme;  // "W8A8", "FP8_DYNAMIC", "W4A16", "QOQ_G128", ...
  int group_size = 0;  // 0: the scheme's own
  // Refuse where the group size does not divide every layer's columns. Otherwise the largest of 128,
  // 64 and 32 below it that does is taken and reported.
  bool strict = false;
  // Stored form: "" is the scheme's own, "W8A8" writes QOQ_G128's level-1 integers (exact).
  std::string as;
  // Modules that stay dense: expressions matched at the start of the full module name. lm_head and
  // the routers of experts always stay dense.
  std::vector<std::string> ignore;
  // Scheme and algorithm by module. When set, it takes the place of scheme, group_size, ignore,
  // algorithm and the algorithm's knobs.
  std::shared_ptr<const QuantizeRecipe> recipe = nullptr;
  // "rtn" (round to nearest) needs no data; others (calibration_algorithm.h) run `calibration`, which
  // must not be null then, through the model.
  std::string algorithm = std::string(kRoundToNearest);
  std::shared_ptr<const CalibrationData> calibration = nullptr;
  double damping = kDefaultDamping;  // GPTQ: times mean(diag H)
  bool act_order = true;           // GPTQ: columns in order of importance
  double token_norm_limit = 0;     // of Gram matrices (InputObserver::Create); 0: none
  double smoothing_strength = -1;  // SmoothQuant's alpha; below 0: the family's own
  // "fp8": measures a scale of keys and one of values per layer, for an FP8 KV cache; "": none.
  std::string kv_cache_scheme = "";
  QoqOptions qoq;                  // the algorithm qoq's switches
  // Bytes of the model done and in all while qoq rotates it, before anything else; may be null.
  std::function<void(uint64_t done, uint64_t total)> rotate_progress = nullptr;
  // Bytes that calibration may take: fewer Gram matrices are held at a time, at the price of more
  // passes over the samples. 0: enough for one pass over a layer of 8B parameters' shape.
  uint64_t memory_limit = 0;
  // LLM_INT8: another threshold than 6.0, and by module the columns that are stored in 16 bit too,
  // ascending (schemes/bitsandbytes_form.h).
  std::optional<float> outlier_threshold = std::nullopt;
  std::unordered_map<std::string, std::vector<int32_t>> kept_columns = {};
  bool resume = false;     // continue OUTPUT.partial; start anew if there is none
  bool overwrite = false;  // replace a non-empty output folder
  int threads = 0;         // 0: one per CPU
  const std::atomic<bool>* cancel = nullptr;  // polled between blocks of rows; may be null
  // Judges the finished checkpoint in `folder` before OUTPUT appears, and may add files; may be null.
  // false: the checkpoint is deleted. An error leaves OUTPUT.partial for `resume`.
  std::function<Result<bool>(const std::string& folder, const struct QuantizeResult& result)> approve =
      nullptr;
};

// The modules of one scheme, group size and algorithm.
struct SchemeShare {
  std::string scheme;
  std::string stored_as;      // scheme of the written checkpoint
  std::string algorithm;
  int group_size = 0;         // 0 for schemes without groups
  int wanted_group_size = 0;  // differs where it did not divide
  std::vector<std::string> modules;
  double weights = 0;
  double bits_per_weight = 0;  // scales included
};

struct QuantizeResult {
  // Of all modules where they are alike, else "mixed", and 0 for the group size.
  std::string scheme;
  std::string stored_as;
  std::string algorithm;
  int group_size = 0;
  int wanted_group_size = 0;
  std::vector<SchemeShare> shares;
  int64_t quantized_modules = 0;
  std::optional<RotateResult> rotation;  // qoq's
  std::vector<std::string> ignored;  // dense linear modules, as in config.json
  std::vector<std::string> warnings;  // what other engines will not like about the result
  uint64_t input_bytes = 0;    // tensors read
  uint64_t output_bytes = 0;   // tensors written
  double bits_per_weight = 0;  // of the quantized modules, scales included
  uint64_t resumed_bytes = 0;  // of output_bytes, already there from an interrupted run
  double seconds = 0;
  std::optional<CalibrationReport> calibration;  // absent for rtn
};

// Called from worker threads, one at a time: how much is done, of how much. Bytes of the input for
// rtn, GFLOP for calibrated algorithms.
using QuantizeProgress = std::function<void(uint64_t done, uint64_t total)>;

// Whether options.calibration is needed: by an algorithm, or for scales of activations or KV cache.
bool NeedsCalibration(const QuantizeOptions& options);

// The scheme and algorithm of every share, for reports.
Json ToJson(const SchemeShare& share);

// Quantizes the linear layers of options.model, each in its scheme, and writes a checkpoint with the
// source's tokenizer, template and generation files, and octavo_quantize.json, which says how.
//
// Memory: a few blocks of rows per thread, whatever the size of the model; calibrated: one layer, the
// Gram matrices of its inputs and a batch of 2048 tokens. The result appears whole:
// work happens in OUTPUT.partial, which is renamed when everything is on disk. After an interruption,
// a crash or a full disk OUTPUT.partial stays, and a run with `resume` and the same options continues
// to bit-identical output; a run without it starts anew.
// Errors: InvalidArgument for options that make no sense, and as CalibrateLayers; FailedPrecondition
// when the output exists, when it is not approved, or when the source is quantized already; kCancelled;
// what reading and writing report.
Result<QuantizeResult> QuantizeCheckpoint(const QuantizeOptions& options,
                                          const QuantizeProgress& progress = nullptr);

}  // namespace octavo
