// SPDX-License-Identifier: Apache-2.0
// Rebuilds tokenizer and generation files from GGUF metadata.
#include "quantizers/gguf_companions.h"

namespace octavo {

Status WriteGgufCompanions(const Checkpoint& checkpoint, const std::string& /*folder*/) {
  return Unimplemented(checkpoint.path() + ": writing a GGUF file's tokenizer");
}

}  // namespace octavo
