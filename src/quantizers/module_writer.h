// SPDX-License-Identifier: Apache-2.0
// How one target form of `octavo convert` stores the quantized modules of a folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "io/safetensors_writer.h"
#include "octavo/status.h"
#include "quantizers/convert_job.h"
#include "schemes/scheme.h"

namespace octavo {

class ModuleWriter {
 public:
  // The job must outlive the writer.
  explicit ModuleWriter(const ConvertJob& job) : job_(job) {}
  virtual ~ModuleWriter() = default;
  ModuleWriter(const ModuleWriter&) = delete;
  ModuleWriter& operator=(const ModuleWriter&) = delete;

  // The stored tensors of a module. Errors: FailedPrecondition, naming it, when the form cannot hold it.
  virtual Result<std::vector<TensorSpec>> Tensors(const ConvertItem& item) const = 0;
  virtual Status Write(const ConvertItem& item, SafetensorsWriter& writer) const = 0;
  // "quantization_config", null for a form that has none. `dense`: modules that stay as they are.
  virtual Result<Json> Config(const std::vector<std::string>& dense) const = 0;

 protected:
  // Writes a module whose tensors come piece by piece, block of rows by block of rows.
  using EncodeRows = std::function<Status(int64_t row, int64_t count, std::vector<TensorPiece>& pieces)>;
  Status WritePieces(const ConvertItem& item, const std::vector<TensorSpec>& specs, const EncodeRows& encode,
                     SafetensorsWriter& writer) const;
  // Writes a module whose tensors are whole.
  static Status WriteWhole(const std::vector<TensorSpec>& specs,
                           const std::vector<std::span<const std::byte>>& bytes, SafetensorsWriter& writer);

  // A module as the scheme of its new form is asked to store it.
  static TargetModule TargetOf(const ConvertItem& item, const SchemeArgs& args) {
    const WeightSpec& spec = item.source->spec();
    return {.name = item.name,
            .n = spec.n,
            .k = spec.k,
            .dtype = item.source->info().dequantized,
            .args = args};
  }

  const ConvertJob& job_;
};

// For --to gptq, awq and compressed-tensors. Errors: FailedPrecondition for modules of different widths or
// group sizes.
Result<std::unique_ptr<ModuleWriter>> MakeIntegerWriter(const ConvertJob& job);

// For --to fp8: FP8 modules with one scale per tensor or block. Errors: FailedPrecondition for others.
Result<std::unique_ptr<ModuleWriter>> MakeFp8Writer(const ConvertJob& job);

// For --to omniserve: QOQ_G128, QOQ and W8A8 modules. Errors: FailedPrecondition for norms whose gains are
// not 1, because omniserve does not read them, and for a tied output projection.
Result<std::unique_ptr<ModuleWriter>> MakeOmniserveWriter(const ConvertJob& job);

// For --to qoq: the modules of an omniserve folder as QOQ_G128, QOQ or W8A8. Errors: FailedPrecondition
// for modules of different kinds.
Result<std::unique_ptr<ModuleWriter>> MakeQoqWriter(const ConvertJob& job);

}  // namespace octavo
