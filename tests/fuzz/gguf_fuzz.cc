// SPDX-License-Identifier: Apache-2.0
// Fuzz target: a GGUF file, through the config, the tokenizer fields and every tensor's values.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto gguf = GgufReader::FromFile(MmapFile::FromMemory("fuzz", text));
  if (!gguf.ok()) return 0;
  (void)ReadGgufTokenizer(**gguf);
  const auto checkpoint = Checkpoint::FromGguf(std::move(gguf).value());
  if (!checkpoint.ok()) return 0;
  (void)NormalizeConfig((*checkpoint)->config());
  std::vector<float> values;
  for (const StoredTensor& tensor : (*checkpoint)->tensors()) {
    if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
    values.resize(static_cast<size_t>(tensor.shape.NumElements()));
    if (!(*checkpoint)->ReadRowsF32(tensor, 0, tensor.rows(), values.data()).ok()) std::abort();
  }
  return 0;
}
