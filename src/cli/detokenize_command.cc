// SPDX-License-Identifier: Apache-2.0
// `octavo detokenize`: token ids on standard input, text on standard output.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/command.h"
#include "cli/open_tokenizer.h"
#include "cli/report.h"
#include "cli/token_ids.h"

namespace octavo {
namespace {

struct DetokenizeOptions {
  std::string model;
  bool ids = false;
  bool no_special = false;
};

// What `octavo tokenize` prints is read back: of each line the field before the first tab.
std::string FirstFields(std::string_view text) {
  std::string fields;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    fields += text.substr(0, std::min(text.find('\t'), end));
    fields += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return fields;
}

Status RunDetokenize(const DetokenizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const std::string input, ReadStandardInput());
  auto ids = ParseTokenIds(options.ids ? input : FirstFields(input));
  if (!ids.ok()) return std::move(ids).status().WithContext("standard input");
  for (const int32_t id : *ids) {
    if (tokenizer->IdToToken(id) == nullptr) {
      return InvalidArgument(fmt::format("standard input: token id {} is not in the vocabulary of {}",
                                         id, tokenizer->vocab_size()));
    }
  }
  return WriteStandardOutput(tokenizer->Decode(*ids, options.no_special));
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<DetokenizeOptions>();
  app.add_option("MODEL", options->model, "Model folder, GGUF file, tokenizer.json or hub name")->required();
  app.add_flag("--ids", options->ids,
               "Everything on standard input is an id; otherwise lines as `octavo tokenize` prints "
               "them, an id before the first tab");
  app.add_flag("--no-special", options->no_special, "Leave special tokens out of the text");
  return [options] { return RunDetokenize(*options); };
}

}  // namespace

extern const Command kCommand_detokenize_command = {
    "detokenize", CommandGroup::kLook, "Turn token ids on standard input into text", &Configure};

}  // namespace octavo
