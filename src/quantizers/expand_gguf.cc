// SPDX-License-Identifier: Apache-2.0
// Streams a GGUF's tensors into a safetensors file.
#include "quantizers/expand_gguf.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/file.h"
#include "io/checkpoint.h"
#include "io/hf_config.h"
#include "io/safetensors_writer.h"
#include "quantizers/carry_over.h"
#include "quantizers/output_folder.h"

namespace octavo {
namespace {

// Rows of about this many values are read and written at a time.
constexpr int64_t kBlockElems = int64_t{4} << 20;

Result<Json> MakeConfig(const Checkpoint& checkpoint) {
  OCTAVO_ASSIGN_OR_RETURN(Json config, NormalizeConfig(checkpoint.config()));
  config["torch_dtype"] = "bfloat16";
  config["dtype"] = "bfloat16";
  return config;
}

Status CopyTensor(const Checkpoint& checkpoint, const StoredTensor& tensor,
                  const ExpandOptions& options, SafetensorsWriter& writer) {
  const int64_t cols = tensor.cols();
  const int64_t block = std::max<int64_t>(1, kBlockElems / std::max<int64_t>(cols, 1));
  std::vector<uint16_t> values;
  for (int64_t row = 0; row < tensor.rows(); row += block) {
    if (options.cancel != nullptr && options.cancel->load()) return Cancelled("interrupted");
    const int64_t count = std::min(block, tensor.rows() - row);
    values.resize(static_cast<size_t>(count * cols));
    OCTAVO_RETURN_IF_ERROR(checkpoint.ReadRowsBf16(tensor, row, count, values.data()));
    OCTAVO_RETURN_IF_ERROR(writer.WriteAt(tensor.name, static_cast<uint64_t>(row * cols) * 2,
                                          std::as_bytes(std::span(values))));
  }
  return writer.MarkComplete(tensor.name);
}

Status WriteTensors(const Checkpoint& checkpoint, const ExpandOptions& options,
                    const std::string& path,
                    const std::function<void(uint64_t, uint64_t)>& progress) {
  std::vector<TensorSpec> specs;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    specs.push_back({.name = tensor.name, .dtype = DType::kBF16, .shape = tensor.shape});
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto writer, SafetensorsWriter::Create(path, specs, {}));
  uint64_t done = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    OCTAVO_RETURN_IF_ERROR(CopyTensor(checkpoint, tensor, options, *writer));
    done += static_cast<uint64_t>(tensor.shape.NumElements()) * 2;
    if (progress) progress(done, writer->data_bytes());
  }
  return writer->Finish();
}

}  // namespace

Status ExpandGguf(const ExpandOptions& options,
                  const std::function<void(uint64_t done, uint64_t total)>& progress) {
  OCTAVO_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(options.model));
  if (!checkpoint->is_gguf()) {
    return InvalidArgument(options.model + ": not a GGUF file; it needs no import");
  }
  OCTAVO_ASSIGN_OR_RETURN(const Json config, MakeConfig(*checkpoint));
  OCTAVO_ASSIGN_OR_RETURN(OutputFolder folder,
                          OutputFolder::Create(options.output, {.resume = false,
                                                                .overwrite = options.overwrite,
                                                                .fingerprint = "import"}));
  OCTAVO_RETURN_IF_ERROR(WriteFileAtomically(folder.FilePath("config.json"), DumpJson(config, 2)));
  OCTAVO_RETURN_IF_ERROR(WriteCompanionFiles(*checkpoint, folder.working_path()));
  OCTAVO_RETURN_IF_ERROR(
      WriteTensors(*checkpoint, options, folder.FilePath("model.safetensors"), progress));
  return folder.Publish();
}

}  // namespace octavo
