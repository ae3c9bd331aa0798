// SPDX-License-Identifier: Apache-2.0
// Writing a module's tensors in pieces or whole.
#include "quantizers/module_writer.h"

namespace octavo {

Status ModuleWriter::WritePieces(const ConvertItem& item, const std::vector<TensorSpec>& specs,
                                 const EncodeRows& encode, SafetensorsWriter& writer) const {
  OCTAVO_RETURN_IF_ERROR(ForRowBlocks(
      job_, item.source->spec().n, item.tensor->bytes, [&](int64_t row, int64_t count) -> Status {
        std::vector<TensorPiece> pieces;
        OCTAVO_RETURN_IF_ERROR(encode(row, count, pieces));
        for (size_t i = 0; i < pieces.size(); ++i) {
          OCTAVO_RETURN_IF_ERROR(writer.WriteAt(specs[i].name, pieces[i].offset, pieces[i].bytes));
        }
        return Status::Ok();
      }));
  for (const TensorSpec& spec : specs) OCTAVO_RETURN_IF_ERROR(writer.MarkComplete(spec.name));
  return Status::Ok();
}

Status ModuleWriter::WriteWhole(const std::vector<TensorSpec>& specs,
                                const std::vector<std::span<const std::byte>>& bytes,
                                SafetensorsWriter& writer) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    OCTAVO_RETURN_IF_ERROR(writer.WriteTensor(specs[i].name, bytes[i]));
  }
  return Status::Ok();
}

}  // namespace octavo
