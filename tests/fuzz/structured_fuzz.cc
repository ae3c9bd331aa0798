// SPDX-License-Identifier: Apache-2.0
// Fuzz target: what a request asks the output to look like. The first byte picks the kind (regular
// expression, JSON schema, GBNF, choices); then two texts are walked through the automaton.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "engine/structured/automaton.h"
#include "engine/structured/token_constraint.h"

namespace {

void Walk(octavo::GrammarAutomaton& automaton, std::string_view text) {
  int32_t set = automaton.start();
  for (const char c : text) {
    if (set < 0) return;
    (void)automaton.Accepts(set);
    set = automaton.Next(set, static_cast<uint8_t>(c));
    if (set < octavo::GrammarAutomaton::kTooComplex) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  using Kind = StructuredOutput::Kind;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  StructuredOutput request;
  request.compact_whitespace = data[0] % 8 < 4;
  switch (data[0] % 4) {
    case 0:
      request.kind = Kind::kRegex;
      break;
    case 1:
      request.kind = Kind::kJsonSchema;
      break;
    case 2:
      request.kind = Kind::kGrammar;
      break;
    default:
      request.kind = Kind::kChoice;
      request.choices = {std::string(text), "other"};
  }
  if (request.kind != Kind::kChoice) request.spec = text;
  auto grammar = CompileStructuredOutput(request);
  if (!grammar.ok()) return 0;
  GrammarAutomaton automaton(std::make_shared<const Grammar>(std::move(grammar).value()));
  Walk(automaton,
       R"({"name": "a\u0041b", "list": [1, -2.5e3, true, null], "x": {}} aaaa 1999-12-31)");
  Walk(automaton, text.substr(0, 200));
  return 0;
}
