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

Result<std::unique_ptr<TextProcessor>> OpenGguf(const std::string& path) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<GgufReader> gguf, GgufReader::Open(path));
  OCTAVO_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(*gguf));
  auto text = TextProcessor::FromGguf(vocabulary);
  if (!text.ok()) return std::move(text).status().WithContext(path);
  return text;
}

}  // namespace

Result<std::unique_ptr<TextProcessor>> OpenText(const std::string& model) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string path, ResolveModel(model));
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return TextProcessor::FromFolder(path);
  if (!std::filesystem::exists(path, error)) return NotFound(path + ": no such file or folder");
  if (!path.ends_with(".json")) return OpenGguf(path);
  OCTAVO_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::FromFile(path));
  return TextProcessor::FromTokenizer(std::move(tokenizer));
}

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& model) {
  OCTAVO_ASSIGN_OR_RETURN(const std::unique_ptr<TextProcessor> text, OpenText(model));
  return text->TakeTokenizer();
}

}  // namespace octavo
