// SPDX-License-Identifier: Apache-2.0
// What config.json says about quantization: which modules are stored how.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "io/checkpoint.h"
#include "octavo/status.h"
#include "schemes/module_matcher.h"
#include "schemes/quant_args.h"
#include "schemes/scheme.h"

namespace octavo {

// The scheme of one module; kScheme_dense (kScheme_gguf in GGUF files) when it is not quantized.
struct ModuleScheme {
  const Scheme* scheme = nullptr;
  SchemeArgs args;
};

// Methods read: "compressed-tensors", "fp8" (AutoFP8 and block FP8), "gptq", "awq", "bitsandbytes" and
// "octavo_qoq". Immutable and thread-safe; movable.
class QuantizationConfig {
 public:
  // No quantization: every module is dense.
  QuantizationConfig() = default;

  // From config.json's "quantization_config" (or the old "compression_config"); none: dense.
  // Errors: Unimplemented for methods and forms that are not read, by name; InvalidArgument for
  // violations of the format.
  static Result<QuantizationConfig> FromModelConfig(const Json& config);

  // From a checkpoint; a GGUF file resolves every module to kScheme_gguf. Old GPTQ and AWQ folders say
  // in quantize_config.json or quant_config.json what config.json lacks; omniserve's form is told by the
  // names of its tensors ("omniserve").
  static Result<QuantizationConfig> FromCheckpoint(const Checkpoint& checkpoint);

  // The quant_method, or empty.
  const std::string& method() const { return method_; }
  bool quantized() const { return !groups_.empty(); }
  // Whether the method leaves it to the tensors which modules are dense: those with a plain weight.
  bool dense_by_tensors() const {
    return method_ == "fp8" || method_ == "gptq" || method_ == "awq" || method_ == "bitsandbytes" ||
           method_ == "omniserve";
  }

  // How a module is stored. `module_class` is "Linear" or "Embedding". As in compressed-tensors a
  // match by name wins over one by expression, that over one by class, and `ignore` over all.
  Result<ModuleScheme> Resolve(std::string_view module,
                               std::string_view module_class = "Linear") const;

  // The scheme of stored k and v (k_scale, v_scale), if the checkpoint has one.
  const std::optional<QuantArgs>& kv_cache() const { return kv_cache_; }

 private:
  struct Group {
    ModuleMatcher targets;
    ModuleScheme scheme;
  };
  static Result<QuantizationConfig> Parse(const Json& json, std::string method);
  Status ParseCompressedTensors(const Json& json);
  Status ParseGroup(const std::string& name, const Json& json);
  Status ParseFp8(const Json& json);
  Status ParseQoq(const Json& json);
  Status ParseGptq(const Json& json);
  Status ParseGptqOverrides(const Json& json, const SchemeArgs& args, const Scheme* scheme);
  Status ParseAwq(const Json& json);
  Status ParseBitsAndBytes(const Json& json);
  Status AddGroup(const std::vector<std::string>& targets, const SchemeArgs& args,
                  const Scheme* scheme);

  std::string method_;
  const Scheme* unquantized_ = &kScheme_dense;
  std::vector<Group> groups_;
  ModuleMatcher ignore_;
  std::optional<QuantArgs> kv_cache_;
};

// "quantization_config" for modules stored by `scheme` with `args`: the classic keys, which
// compressed-tensors, vLLM and Octavo read. `ignore` lists the dense linear modules by name.
Json MakeQuantizationConfig(const Scheme& scheme, const SchemeArgs& args,
                            const std::vector<std::string>& ignore);

// The modules of one entry of config_groups.
struct ConfigGroup {
  const Scheme* scheme = nullptr;
  SchemeArgs args;
  std::vector<std::string> modules;
};

// The same for several groups, whose schemes must be compressed-tensors'. Targets are names and
// expressions that match each module once; groups of different forms say "mixed-precision" and name
// their form each, as compressed-tensors does since 0.11. One group: as above.
Json MakeQuantizationConfig(const std::vector<ConfigGroup>& groups,
                            const std::vector<std::string>& ignore);

}  // namespace octavo
