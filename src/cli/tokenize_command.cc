// SPDX-License-Identifier: Apache-2.0
// `octavo tokenize`: text on standard input, tokens on standard output.
#include <fmt/format.h>

#include <memory>

#include "cli/command.h"
#include "cli/open_tokenizer.h"
#include "cli/report.h"

namespace octavo {
namespace {

struct TokenizeOptions {
  std::string model;
  bool ids = false;
  bool no_special = false;
  bool explain = false;
  std::string json;
};

std::string Ids(const std::vector<int32_t>& ids) { return fmt::format("{}\n", fmt::join(ids, " ")); }

// "1024<TAB>Ġthe" per line, with the rule between them when explaining. Spellings are JSON strings
// without the quotes, so that a line break inside a token stays on its line.
std::string Lines(const std::vector<ExplainedToken>& tokens, bool explain) {
  std::string text;
  for (const ExplainedToken& token : tokens) {
    const std::string quoted = DumpJson(Json(token.token));
    const std::string rule = explain ? fmt::format("{}\t", NameOf(token.rule)) : "";
    text += fmt::format("{}\t{}{}\n", token.id, rule, quoted.substr(1, quoted.size() - 2));
  }
  return text;
}

Status RunTokenize(const TokenizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(options.model));
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadStandardInput());
  if (options.ids || !options.json.empty()) {
    OCTAVO_ASSIGN_OR_RETURN(const auto ids, tokenizer->Encode(text, !options.no_special));
    if (!JsonOnStdout(options.json)) OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(Ids(ids)));
    return WriteJsonReport(options.json, {{"token_ids", ids}});
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto tokens, tokenizer->Explain(text, !options.no_special));
  return WriteStandardOutput(Lines(tokens, options.explain));
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model, "Model folder, GGUF file, tokenizer.json or hub name")->required();
  app.add_flag("--no-special", options->no_special,
               "Do not add the special tokens (BOS, EOS) that the tokenizer puts around a text");
  CLI::Option* ids = app.add_flag("--ids", options->ids, "Print only ids, all on one line");
  app.add_flag("--explain", options->explain, "Also print which rule made each token")->excludes(ids);
  AddJsonOption(app, options->json);
  return [options] { return RunTokenize(*options); };
}

}  // namespace

extern const Command kCommand_tokenize_command = {
    "tokenize", CommandGroup::kLook, "Turn standard input into tokens", &Configure};

}  // namespace octavo
