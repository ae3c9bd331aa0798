// SPDX-License-Identifier: Apache-2.0
// Command-line access to the tokenizer layer alone, for the interop scripts:
//   tokenizer_tool tokenize MODEL --ids [--no-special]   < text   prints a JSON array
//   tokenizer_tool detokenize MODEL                      < array  prints text
//   tokenizer_tool speed MODEL                           < text   prints load time and MB/s
//   tokenizer_tool render TEMPLATE                       < case   prints what a chat template makes of
//     {"messages": [...], "tools", "documents", "special_tokens", "variables", "now": seconds}
// MODEL is a tokenizer.json, or a model folder with any kind of tokenizer file. The subcommands are
// those of `octavo`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/text_processor.h"
#include "tokenizer/tokenizer.h"

namespace octavo {
namespace {

int Fail(const Status& status) {
  std::cerr << status.ToString() << "\n";
  return 1;
}

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

int Tokenize(const Tokenizer& tokenizer, const std::string& text, bool special) {
  const auto ids = tokenizer.Encode(text, special);
  if (!ids.ok()) return Fail(ids.status());
  std::cout << Json(*ids).dump() << "\n";
  return 0;
}

int Detokenize(const Tokenizer& tokenizer, const std::string& text) {
  const auto json = ParseJson(text);
  if (!json.ok()) return Fail(json.status());
  const auto ids = json->get<std::vector<int32_t>>();
  const std::string whole = tokenizer.Decode(ids, false);
  StreamingDetokenizer stream(tokenizer, false);
  std::string streamed;
  for (const int32_t id : ids) streamed += stream.Push(id);
  streamed += stream.Finish();
  if (whole != streamed) return Fail(Internal("streaming differs from Decode"));
  std::cout << whole;
  return 0;
}

int Speed(const Tokenizer& tokenizer, const std::string& text, double load_seconds) {
  double best = 1e9;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.Encode(text, true);
    if (!ids.ok()) return Fail(ids.status());
    best = std::min(best, Seconds(start));
  }
  std::printf("load %.3f s, encode %.1f MB/s\n", load_seconds,
              static_cast<double>(text.size()) / 1e6 / best);
  return 0;
}

int Render(const std::string& path, const std::string& text) {
  const auto source = ReadFile(path);
  if (!source.ok()) return Fail(source.status());
  const auto json = ParseJson(text);
  if (!json.ok()) return Fail(json.status());
  const auto chat_template = ChatTemplate::Create(*source, json->value("special_tokens", Json::object()));
  if (!chat_template.ok()) return Fail(chat_template.status());
  ChatTemplateOptions options;
  options.add_generation_prompt = json->value("add_generation_prompt", true);
  options.tools = json->value("tools", Json());
  options.documents = json->value("documents", Json());
  options.variables = json->value("variables", Json::object());
  if (json->contains("now")) options.now = (*json)["now"].get<std::time_t>();
  const auto rendered = (*chat_template)->Render(json->value("messages", Json::array()), options);
  if (!rendered.ok()) return Fail(rendered.status());
  std::cout << *rendered;
  return 0;
}

int Main(const std::vector<std::string>& args) {
  if (args.size() < 2) {
    std::cerr << "usage: tokenizer_tool tokenize|detokenize|speed MODEL [--ids] [--no-special]\n"
                 "       tokenizer_tool render TEMPLATE\n";
    return 2;
  }
  if (args[0] == "render") return Render(args[1], std::string(std::istreambuf_iterator<char>(std::cin), {}));
  const auto start = std::chrono::steady_clock::now();
  std::unique_ptr<Tokenizer> own;
  std::unique_ptr<TextProcessor> model;
  if (std::filesystem::is_directory(args[1])) {
    auto loaded = TextProcessor::FromFolder(args[1]);
    if (!loaded.ok()) return Fail(loaded.status());
    model = std::move(loaded).value();
  } else {
    auto loaded = Tokenizer::FromFile(args[1]);
    if (!loaded.ok()) return Fail(loaded.status());
    own = std::move(loaded).value();
  }
  const Tokenizer& tokenizer = model != nullptr ? model->tokenizer() : *own;
  const double load_seconds = Seconds(start);
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  const bool special = std::find(args.begin(), args.end(), "--no-special") == args.end();
  if (args[0] == "tokenize") return Tokenize(tokenizer, input, special);
  if (args[0] == "detokenize") return Detokenize(tokenizer, input);
  return Speed(tokenizer, input, load_seconds);
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) { return octavo::Main({argv + 1, argv + argc}); }
