// SPDX-License-Identifier: Apache-2.0
// The options that every command running a model shares.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "models/teacher_forcing.h"
#include "octavo/status.h"

namespace octavo {

struct ModelOptions {
  std::string model;
  std::string dtype = "bfloat16";
  std::string quantization;
  std::string lm_head_dtype;
  std::string gguf_activations = "int8";
  std::string kv_cache_dtype = "auto";
  int threads = 0;
};

// Adds --kv-cache-dtype; "auto" is f32 with --dtype float32, else bf16.
void AddKvDTypeOption(CLI::App& app, std::string& kv_cache_dtype);
KvDType ChooseKvDType(const std::string& kv_cache_dtype, const std::string& dtype);

// Adds --gguf-activations, int8 or 16bit.
void AddGgufActivationsOption(CLI::App& app, std::string& value);

// Adds MODEL, --dtype, --quantization, --lm-head-dtype, --gguf-activations, --kv-cache-dtype and
// --threads.
void AddModelOptions(CLI::App& app, ModelOptions& options);

// A loaded model that scores given texts; owns everything it needs.
struct ScoringModel {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<TeacherForcing> forcing;
};

// Loads the model for texts of at most `max_tokens`, with a progress bar when it takes long.
Result<ScoringModel> LoadForScoring(const ModelOptions& options, int64_t max_tokens);

}  // namespace octavo
