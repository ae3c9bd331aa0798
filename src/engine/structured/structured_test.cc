// SPDX-License-Identifier: Apache-2.0
// Grammars from regular expressions, JSON schemas and GBNF, and the token masks they give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/json.h"
#include "engine/structured/automaton.h"
#include "engine/structured/token_constraint.h"

namespace octavo {
namespace {

using Kind = StructuredOutput::Kind;

StructuredOutput Spec(Kind kind, std::string spec, bool compact = true) {
  StructuredOutput output;
  output.kind = kind;
  output.spec = std::move(spec);
  output.compact_whitespace = compact;
  return output;
}

// Whether the whole text is of the language.
class Language {
 public:
  explicit Language(const StructuredOutput& spec) {
    auto grammar = CompileStructuredOutput(spec);
    EXPECT_TRUE(grammar.ok()) << grammar.status().ToString();
    if (grammar.ok()) {
      automaton_ = std::make_unique<GrammarAutomaton>(
          std::make_shared<const Grammar>(std::move(grammar).value()));
    }
  }
  bool Has(std::string_view text) {
    if (automaton_ == nullptr) return false;
    int32_t set = automaton_->start();
    for (const char c : text) {
      if (set < 0) return false;
      set = automaton_->Next(set, static_cast<uint8_t>(c));
    }
    return set >= 0 && automaton_->Accepts(set);
  }

 private:
  std::unique_ptr<GrammarAutomaton> automaton_;
};

std::string ErrorOf(const StructuredOutput& spec) {
  const auto grammar = CompileStructuredOutput(spec);
  return grammar.ok() ? "accepted" : grammar.status().message();
}

TEST(RegexTest, MatchesWholeTexts) {
  Language dates(Spec(Kind::kRegex, R"(^(19|20)\d{2}-[01]?\d(?:-x+)*$)"));
  EXPECT_TRUE(dates.Has("1999-12"));
  EXPECT_TRUE(dates.Has("2024-7-x-xxx"));
  EXPECT_FALSE(dates.Has("1899-12"));
  EXPECT_FALSE(dates.Has("1999-12-"));
  EXPECT_FALSE(dates.Has("1999-12 "));
  Language classes(Spec(Kind::kRegex, R"([^a-c\]]{2,3}|[\w.-]+@\x41)"));
  EXPECT_TRUE(classes.Has("xyz"));
  EXPECT_FALSE(classes.Has("xyzz"));
  EXPECT_FALSE(classes.Has("x]"));
  EXPECT_TRUE(classes.Has("me.too-x@A"));
}

TEST(RegexTest, CharactersAreUtf8) {
  Language any(Spec(Kind::kRegex, "."));
  for (const char* text : {"a", "\u00e9", "\u20ac", "\U0001F600"})
    EXPECT_TRUE(any.Has(text)) << text;
  EXPECT_FALSE(any.Has("\n"));
  EXPECT_FALSE(any.Has("\xC3"));
  EXPECT_FALSE(any.Has("\xED\xA0\x80"));  // a surrogate
  EXPECT_FALSE(any.Has("\xC0\x80"));      // overlong
  Language greek(Spec(Kind::kRegex, "[\u03b1-\u03c9]+"));
  EXPECT_TRUE(greek.Has("\u03b1\u03c9"));
  EXPECT_FALSE(greek.Has("\u0391"));
}

TEST(RegexTest, RefusesWhatItCannotDo) {
  for (const char* bad : {"(?=a)", "(?<x>a)", R"(\1)", R"(a\b)", "a**", "[", "(", ")", "a{3,1}",
                          "a{99999}", "x{", "[b-a]", "\\", "a^b", "[[:alpha:]]", "\xff"}) {
    EXPECT_NE(ErrorOf(Spec(Kind::kRegex, bad)), "accepted") << bad;
  }
  EXPECT_THAT(ErrorOf(Spec(Kind::kRegex, "((a{1000}){1000}){1000}")),
              ::testing::HasSubstr("states"));
  EXPECT_THAT(ErrorOf(Spec(Kind::kRegex, std::string(1000, '(') + std::string(1000, ')'))),
              ::testing::HasSubstr("deep"));
}

TEST(JsonTest, AnyObjectIsWhatTheParserAccepts) {
  Language json(Spec(Kind::kJsonObject, "", false));
  for (const char* good : {"{}", R"({"a": [1, -2.5e+3, true, null, {"b": "\u00e9\n"}]})",
                           "{ \"a\" :\n\t1 , \"b\":\"\xe2\x82\xac\" }"}) {
    EXPECT_TRUE(json.Has(good)) << good;
    EXPECT_TRUE(ParseJson(good).ok()) << good;
  }
  for (const char* bad : {"", "[]", "{", R"({"a":01})", R"({"a":1,})", R"({'a':1})",
                          "{\"a\":\"\n\"}", R"({"a":.5})", R"({"a":"\x"})", R"({a:1})"}) {
    EXPECT_FALSE(json.Has(bad)) << bad;
  }
  Language compact(Spec(Kind::kJsonObject, ""));
  EXPECT_TRUE(compact.Has(R"({"a": 1,"b": [2, 3]})"));
  EXPECT_FALSE(compact.Has("{ }"));
  EXPECT_FALSE(compact.Has(R"({"a":  1})"));
}

TEST(JsonTest, SchemaFixesMembersTypesAndBounds) {
  Language schema(Spec(Kind::kJsonSchema, R"({
    "type": "object", "title": "ignored",
    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 5},
                   "age": {"type": "integer", "minimum": 0, "maximum": 130},
                   "tags": {"type": "array", "items": {"enum": ["x", "y\"z"]}, "minItems": 1, "maxItems": 2},
                   "note": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
                   "day": {"type": "string", "format": "date"}},
    "required": ["name", "tags"], "additionalProperties": false})"));
  EXPECT_TRUE(schema.Has(R"({"name":"bob","age":42,"tags":["x"],"note":null,"day":"2024-02-30"})"));
  EXPECT_TRUE(schema.Has(R"({"name": "b", "tags": ["x", "y\"z"]})"));
  EXPECT_FALSE(schema.Has(R"({"name":"bob"})"));                  // tags missing
  EXPECT_FALSE(schema.Has(R"({"tags":["x"],"name":"bob"})"));     // order
  EXPECT_FALSE(schema.Has(R"({"name":"bobbob","tags":["x"]})"));  // too long
  EXPECT_FALSE(schema.Has(R"({"name":"bob","age":131,"tags":["x"]})"));
  EXPECT_FALSE(schema.Has(R"({"name":"bob","age":-1,"tags":["x"]})"));
  EXPECT_FALSE(schema.Has(R"({"name":"bob","tags":[]})"));
  EXPECT_FALSE(schema.Has(R"({"name":"bob","tags":["x","x","x"]})"));
  EXPECT_FALSE(schema.Has(R"({"name":"bob","tags":["x"],"more":1})"));
}

TEST(JsonTest, OptionalMembersInEverySubset) {
  Language schema(Spec(Kind::kJsonSchema, R"({"properties": {"a": {"type": "null"},
      "b": {"type": "null"}, "c": {"type": "null"}}, "type": "object"})"));
  for (const char* good : {"{}", R"({"a":null})", R"({"b":null})", R"({"a":null,"c":null})",
                           R"({"b":null,"c":null})", R"({"a":null,"b":null,"c":null})"}) {
    EXPECT_TRUE(schema.Has(good)) << good;
  }
  EXPECT_FALSE(schema.Has(R"({"a":null,})"));
  EXPECT_FALSE(schema.Has(R"({,"b":null})"));
}

TEST(JsonTest, ReferencesMayRecurse) {
  Language tree(Spec(Kind::kJsonSchema, R"({"$ref": "#/$defs/node", "$defs": {"node": {
      "type": "object", "properties": {"v": {"type": "integer"},
      "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
      "required": ["v", "next"]}}})"));
  EXPECT_TRUE(tree.Has(R"({"v":1,"next":{"v":2,"next":null}})"));
  EXPECT_FALSE(tree.Has(R"({"v":1,"next":{"v":2}})"));
}

TEST(JsonTest, IntegerRangesAreExact) {
  const std::pair<int, int> ranges[] = {{0, 0}, {7, 123}, {-15, 8}, {-200, -95}, {99, 1001}};
  for (const auto& [low, high] : ranges) {
    Language schema(Spec(Kind::kJsonSchema,
                         DumpJson({{"type", "integer"}, {"minimum", low}, {"maximum", high}})));
    for (int x = -1100; x <= 1100; ++x) {
      EXPECT_EQ(schema.Has(std::to_string(x)), x >= low && x <= high) << x << " in " << low;
    }
    EXPECT_FALSE(schema.Has("007"));
    EXPECT_FALSE(schema.Has("-0"));
  }
  Language open(Spec(Kind::kJsonSchema, R"({"type": "integer", "exclusiveMinimum": 41})"));
  EXPECT_FALSE(open.Has("41"));
  EXPECT_TRUE(open.Has("42"));
  EXPECT_TRUE(open.Has("123456789012345678901234567890"));
}

TEST(JsonTest, UnsupportedKeywordsAreNamed) {
  using ::testing::HasSubstr;
  const auto error = [](const char* schema) { return ErrorOf(Spec(Kind::kJsonSchema, schema)); };
  EXPECT_THAT(error(R"({"type": "number", "multipleOf": 2})"), HasSubstr("multipleOf"));
  EXPECT_THAT(error(R"({"type": "object", "properties": {"p": {"not": {}}}})"),
              HasSubstr("#/properties/p"));
  EXPECT_THAT(error(R"({"type": "strng"})"), HasSubstr("strng"));
  EXPECT_THAT(error(R"({"$ref": "#/nowhere"})"), HasSubstr("#/nowhere"));
  EXPECT_THAT(error(R"({"$ref": "http://x/y"})"), HasSubstr("another document"));
  EXPECT_THAT(error(R"({"$ref": "#"})"), HasSubstr("left recursion"));
  EXPECT_THAT(error(R"({"type": "object", "required": ["x"]})"), HasSubstr("'x'"));
  EXPECT_THAT(error("{"), HasSubstr("JSON schema"));
  EXPECT_THAT(error(R"({"type": "array", "maxItems": -1})"), HasSubstr("maxItems"));
  std::string deep;
  for (int i = 0; i < 3000; ++i) deep += R"({"items":)";
  EXPECT_NE(error(deep.c_str()), "accepted");
}

TEST(GbnfTest, RunsRecursiveGrammars) {
  Language sums(Spec(Kind::kGrammar, R"g(
    root ::= term (("+" | "-") term)*   # a comment
    term ::= [0-9]+ | "(" root ")"
  )g"));
  EXPECT_TRUE(sums.Has("1+(2-33)"));
  EXPECT_TRUE(sums.Has("((((7))))"));
  EXPECT_FALSE(sums.Has("1+(2-33"));
  EXPECT_FALSE(sums.Has("1+"));
  Language escapes(Spec(Kind::kGrammar, "root ::= \"a.b\\n\" [^\"\\\\]{2}"));
  EXPECT_TRUE(escapes.Has("a.b\nxy"));
  EXPECT_FALSE(escapes.Has("axb\nxy"));
}

TEST(GbnfTest, NamesMistakes) {
  using ::testing::HasSubstr;
  const auto error = [](const char* text) { return ErrorOf(Spec(Kind::kGrammar, text)); };
  EXPECT_THAT(error("root ::= root \"a\" | \"b\""), HasSubstr("left recursion"));
  EXPECT_THAT(error("root ::= a\na ::= \"\" b\nb ::= a"), HasSubstr("left recursion"));
  EXPECT_THAT(error("root ::= missing"), HasSubstr("'missing'"));
  EXPECT_THAT(error("start ::= \"a\""), HasSubstr("root"));
  EXPECT_THAT(error("root ::= \"a\"\nroot ::= \"b\""), HasSubstr("line 2"));
  EXPECT_THAT(error("root = \"a\""), HasSubstr("::="));
}

// A vocabulary of pieces of JSON; 0 is the end token.
std::shared_ptr<const TokenTable> PieceTable(std::vector<std::string>& pieces) {
  pieces = {"",  "{",  "}",    "{\"",  "\":", "\"",   "name", "na", "me",
            " ", ",",  "1",    "23",   "tr",  "true", "null", ":",  "[",
            "]", "\\", "\xC3", "\xA9", "x\"", "}}",   "-"};
  return std::make_shared<const TokenTable>(
      static_cast<int64_t>(pieces.size()),
      [&pieces](int32_t id) { return pieces[static_cast<size_t>(id)]; });
}

TEST(TokenConstraintTest, MaskEqualsTryingEveryToken) {
  std::vector<std::string> pieces;
  const auto table = PieceTable(pieces);
  MaskWorker worker;
  const auto spec = Spec(Kind::kJsonObject, "");
  auto context = std::make_shared<ConstraintContext>(CompileStructuredOutput(spec).value(), table,
                                                     worker, std::vector<int32_t>{0});
  GrammarAutomaton automaton(
      std::make_shared<const Grammar>(CompileStructuredOutput(spec).value()));
  std::mt19937 rng(5);
  for (int run = 0; run < 50; ++run) {
    TokenConstraint constraint(context);
    int32_t set = automaton.start();
    for (int step = 0; step < 40; ++step) {
      const auto answer = constraint.Wait();
      ASSERT_NE(answer.verdict, TokenConstraint::Verdict::kTooComplex);
      std::vector<std::pair<int32_t, int32_t>> moves;
      for (int32_t token = 0; token < static_cast<int32_t>(pieces.size()); ++token) {
        int32_t next = set;
        for (const char c : pieces[static_cast<size_t>(token)]) {
          if (next >= 0) next = automaton.Next(next, static_cast<uint8_t>(c));
        }
        const bool want = token == 0 ? automaton.Accepts(set) : next >= 0;
        EXPECT_EQ(((*answer.mask)[0] >> token & 1) != 0, want)
            << pieces[static_cast<size_t>(token)];
        if (want && token != 0) moves.emplace_back(token, next);
      }
      EXPECT_EQ(answer.verdict == TokenConstraint::Verdict::kComplete,
                moves.empty() && automaton.Accepts(set));  // else this vocabulary has no way on
      if (moves.empty()) break;
      const auto& [token, next] = moves[rng() % moves.size()];
      constraint.Accept(token);
      set = next;
    }
  }
}

TEST(TokenConstraintTest, ForksGoTheirOwnWay) {
  std::vector<std::string> pieces;
  const auto table = PieceTable(pieces);
  MaskWorker worker;
  StructuredOutput spec;
  spec.kind = Kind::kChoice;
  spec.choices = {"name", "null"};
  auto context = std::make_shared<ConstraintContext>(CompileStructuredOutput(spec).value(), table,
                                                     worker, std::vector<int32_t>{0});
  TokenConstraint constraint(context);
  const auto fork = constraint.Fork();
  constraint.Accept(7);                                       // "na"
  fork->Accept(15);                                           // "null"
  EXPECT_EQ((*constraint.Wait().mask)[0], uint64_t{1} << 8);  // "me"
  EXPECT_EQ(fork->Wait().verdict, TokenConstraint::Verdict::kComplete);
}

TEST(TokenConstraintTest, EndlessNestingIsGivenUpNotFollowed) {
  GrammarAutomaton automaton(std::make_shared<const Grammar>(
      CompileStructuredOutput(Spec(Kind::kJsonObject, "")).value()));
  int32_t set = automaton.start();
  for (int i = 0; i < 5000 && set >= 0; ++i) {
    for (const char c : std::string_view("{\"a\":")) {
      if (set >= 0) set = automaton.Next(set, static_cast<uint8_t>(c));
    }
  }
  EXPECT_EQ(set, GrammarAutomaton::kTooComplex);
}

}  // namespace
}  // namespace octavo
