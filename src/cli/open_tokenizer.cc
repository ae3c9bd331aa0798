// SPDX-License-Identifier: Apache-2.0
// Finds and reads a model's tokenizer.
#include "cli/open_tokenizer.h"

#include <filesystem>
#include <utility>

#include "cli/hub_model.h"
#include "io/gguf_reader.h"
#include "models/gguf_vocabulary_reader.h"

namespace octavo {
namespace {

Result<std::unique_ptr<Tokenizer>> OpenGguf(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<GgufReader> gguf, GgufReader::Open(path));
  OCTAVO_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(*gguf));
  auto tokenizer = Tokenizer::FromGguf(vocabulary);
  if (!tokenizer.ok()) return std::move(tokenizer).status().WithContext(path);
  return tokenizer;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(model));
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return Tokenizer::FromFile(path + "/tokenizer.json");
  if (!std::filesystem::exists(path, error)) return NotFound(path + ": no such file or folder");
  return path.ends_with(".json") ? Tokenizer::FromFile(path) : OpenGguf(path);
}

}  // namespace octavo
