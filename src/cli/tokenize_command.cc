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
  bool chat = false;
  std::string json;
};

struct RuledToken {
  int32_t id = 0;
  std::string token;
  std::string rule;
};

std::string Ids(const std::vector<int32_t>& ids) { return fmt::format("{}\n", fmt::join(ids, " ")); }

// What was put around a text goes by who decided on it; in a chat every added token comes from the
// template, unless the user's own text spells one.
std::vector<RuledToken> WithRules(const TextProcessor& text, const std::vector<ExplainedToken>& tokens,
                                  bool chat) {
  std::vector<RuledToken> ruled;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string rule(NameOf(tokens[i].rule));
    if (tokens[i].rule == TokenRule::kPostProcessor) {
      rule = i < text.tokenizer().prefix_ids().size() ? text.prefix_rule() : text.suffix_rule();
    }
    if (chat && tokens[i].rule == TokenRule::kAddedToken) rule = "chat_template";
    ruled.push_back({tokens[i].id, tokens[i].token, std::move(rule)});
  }
  return ruled;
}

// "1024<TAB>Ġthe" per line, with the rule between them when explaining. Spellings are JSON strings
// without the quotes, so that a line break inside a token stays on its line.
std::string Lines(const std::vector<RuledToken>& tokens, bool explain) {
  std::string text;
  for (const RuledToken& token : tokens) {
    const std::string quoted = DumpJson(Json(token.token));
    const std::string rule = explain ? token.rule + "\t" : "";
    text += fmt::format("{}\t{}{}\n", token.id, rule, quoted.substr(1, quoted.size() - 2));
  }
  return text;
}

Json ToJson(const std::vector<RuledToken>& tokens, bool explain) {
  Json ids = Json::array();
  Json rows = Json::array();
  for (const RuledToken& token : tokens) {
    ids.push_back(token.id);
    rows.push_back({{"id", token.id}, {"token", token.token}, {"rule", token.rule}});
  }
  Json report = {{"token_ids", std::move(ids)}};
  if (explain) report["tokens"] = std::move(rows);
  return report;
}

Status RunTokenize(const TokenizeOptions& options) {
  OCTAVO_ASSIGN_OR_RETURN(const auto processor, OpenText(options.model));
  OCTAVO_ASSIGN_OR_RETURN(std::string text, ReadStandardInput());
  if (options.chat) {
    const Json message = {{"role", "user"}, {"content", text}};
    const Json messages = Json::array({message});
    OCTAVO_ASSIGN_OR_RETURN(text, processor->RenderChat(messages, {}));
  }
  const bool add_special = !options.no_special && !options.chat;
  if (options.ids || (!options.json.empty() && !options.explain)) {
    OCTAVO_ASSIGN_OR_RETURN(const auto ids, processor->tokenizer().Encode(text, add_special));
    if (!JsonOnStdout(options.json)) OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(Ids(ids)));
    return WriteJsonReport(options.json, {{"token_ids", ids}});
  }
  OCTAVO_ASSIGN_OR_RETURN(const auto plain, processor->tokenizer().Explain(text, add_special));
  const std::vector<RuledToken> tokens = WithRules(*processor, plain, options.chat);
  if (!JsonOnStdout(options.json)) {
    OCTAVO_RETURN_IF_ERROR(WriteStandardOutput(Lines(tokens, options.explain)));
  }
  return WriteJsonReport(options.json, ToJson(tokens, options.explain));
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model, "Model folder, GGUF file, tokenizer.json or hub name")->required();
  app.add_flag("--no-special", options->no_special,
               "Do not add the special tokens (BOS, EOS) that the tokenizer puts around a text");
  CLI::Option* ids = app.add_flag("--ids", options->ids, "Print only ids, all on one line");
  app.add_flag("--explain", options->explain, 
               "Also print which rule made each token: model, added_token, post_processor, add_bos_token, "
               "add_eos_token or chat_template")
      ->excludes(ids);
  app.add_flag("--chat", options->chat,
               "Take standard input as a user's message and tokenize what the chat template makes of it");
  AddJsonOption(app, options->json);
  return [options] { return RunTokenize(*options); };
}

}  // namespace

extern const Command kCommand_tokenize_command = {
    "tokenize", CommandGroup::kLook, "Turn standard input into tokens", &Configure};

}  // namespace octavo
