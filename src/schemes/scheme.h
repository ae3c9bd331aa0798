// SPDX-License-Identifier: Apache-2.0
// A quantization scheme: what stored bytes mean and how numbers become such bytes.
//
// One file src/schemes/scheme/<stem>.cc per scheme exports `const Scheme kScheme_<stem>`; its name is
// all the registration there is (docs/add-a-scheme.md). Algorithms that choose codes (round to
// nearest, GPTQ, ...) live in quantizers/; round to nearest is part of the scheme, because data-free
// and online quantization need nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors_writer.h"
#include "kernels/activation.h"
#include "octavo/dtype.h"
#include "octavo/status.h"
#include "schemes/quant_args.h"
#include "schemes/weight_source.h"

namespace octavo {

struct Scheme;

// A quantized module in a checkpoint, as the quantization config describes it.
struct StoredModule {
  const Checkpoint* checkpoint = nullptr;
  std::string name;  // "model.layers.0.mlp.down_proj"
  const Scheme* scheme = nullptr;
  SchemeArgs args;
};

// A module being quantized.
struct TargetModule {
  std::string name;
  int64_t n = 0;
  int64_t k = 0;
  DType dtype = DType::kBF16;  // type of the original weights, and of the scales: BF16, F16 or F32
  SchemeArgs args;             // with the group size that is used
  float absmax = 0;            // of the whole tensor, for Strategy::kTensor
  float input_scale = 0;       // calibrated, exact in dtype; for activations that are not dynamic
  std::vector<int32_t> kept_columns = {};  // LLM_INT8: columns stored in 16 bit too, ascending
};

// Rows in a scheme's own terms, before packing. `cols` of scales: 1 per tensor or channel, k /
// group_size per group, ceil(k / block_cols) per block.
struct QuantizedRows {
  int64_t count = 0;
  std::vector<uint8_t> codes;        // [count, k]: int8 q, E4M3 bits, or uint4 u (QoQ)
  std::vector<float> scales;         // [count, cols], exact in TargetModule::dtype
  std::vector<int8_t> zero_points;   // [count, cols], asymmetric only: w = (q - zero_point) * scale
  std::vector<uint8_t> scales2;      // [count, k / group_size], QoQ level 2
  std::vector<uint8_t> zeros2;       // [count, k / group_size], QoQ level 2
  std::vector<uint16_t> kept;        // [count, kept_columns] bf16 bits, LLM_INT8
};

// The bytes of one tensor for a range of rows; they start at `offset` in the tensor.
struct TensorPiece {
  uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

// Row ranges given to `quantize` and `encode` start at multiples of this and end there or at n.
inline constexpr int64_t kRowAlignment = 128;

struct Scheme {
  std::string_view name;         // llm-compressor's preset name, "W4A16"
  std::string_view summary;      // one line for `octavo list schemes`
  std::string_view online_name;  // name for --quantization; empty if it has none
  std::string_view method;       // quant_method in config.json; empty if it is not written there
  std::string_view format;       // compressed-tensors' name of the stored form; empty if not written
  SchemeArgs args;               // what `quantize` writes; the group size may be changed

  // Whether stored modules with these args are of this scheme. At most one scheme matches; null for
  // schemes that no config describes.
  bool (*matches)(const SchemeArgs& args) = nullptr;

  // Opens a module's weight. Errors name the tensor, what was found and what is wanted.
  Result<std::unique_ptr<WeightSource>> (*open)(const StoredModule& module) = nullptr;

  // The rest is null for schemes that are only read.
  //
  // Rounds rows [row_begin, row_begin + count) of the original, x [count, k], to nearest.
  // Errors: DataLoss naming the place of a value that is not finite.
  Status (*quantize)(const TargetModule& module, const float* x, int64_t row_begin, int64_t count,
                     QuantizedRows& rows) = nullptr;
  // The tensors that store the module, by full name.
  std::vector<TensorSpec> (*tensors)(const TargetModule& module) = nullptr;
  // Their bytes for a range of rows; `pieces` follow the order of tensors(). A piece may be empty.
  void (*encode)(const TargetModule& module, const QuantizedRows& rows, int64_t row_begin,
                 std::vector<TensorPiece>& pieces) = nullptr;
  // What kernels see: the spec of a quantized module and its rows.
  WeightSpec (*spec)(const TargetModule& module) = nullptr;
  void (*to_weight_rows)(const TargetModule& module, QuantizedRows& from, WeightRows& to) = nullptr;

  // Re-expresses rows as W8A8's, value for value; null where that is impossible.
  void (*to_w8a8)(const TargetModule& module, QuantizedRows& rows) = nullptr;

  // Whether `quantize` writes it; online schemes only quantize in memory.
  bool writable() const { return !method.empty(); }
};

// All schemes of this build, sorted by name.
std::span<const Scheme* const> AllSchemes();

// Weights that no scheme quantized: plain floats, or the blocks of a GGUF file.
extern const Scheme kScheme_dense;
extern const Scheme kScheme_gguf;

// Letters' case does not matter. nullptr when there is no such scheme.
const Scheme* FindScheme(std::string_view name);

// By its online name, or by its own where it has an online form ("w8a8" is "int8").
const Scheme* FindOnlineScheme(std::string_view name);

// The scheme of stored modules with these args.
// Errors: Unimplemented, describing the args.
Result<const Scheme*> MatchScheme(const SchemeArgs& args);

// "A, B, C": names of the schemes that can be written, or used online, for error messages.
std::string WritableSchemeNames();
std::string OnlineSchemeNames();

// What linears of these args run with, and why that differs from what they ask for (asymmetric
// activations), or an empty note. Errors: Unimplemented.
struct ActivationChoice {
  ActivationFormat format = ActivationFormat::kBf16;
  bool static_scale = false;  // the module's input_scale holds for all tokens
  std::string note;
};
Result<ActivationChoice> ChooseActivation(const SchemeArgs& args);

// What LLM.int8() does that bitsandbytes does not; empty where nothing stays in 16 bit.
std::string OutlierNote(const SchemeArgs& args);

}  // namespace octavo
