// SPDX-License-Identifier: Apache-2.0
// Tool calls and reasoning come out the same however the text is cut into pieces.
#include "server/output_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace octavo::server {
namespace {

ParsedPiece ParseInPieces(OutputParser::Options options, std::string_view text, size_t step) {
  OutputParser parser(options);
  ParsedPiece all;
  const auto add = [&](ParsedPiece piece) {
    all.reasoning += piece.reasoning;
    all.content += piece.content;
    for (ToolCall& call : piece.tool_calls) all.tool_calls.push_back(std::move(call));
  };
  for (size_t i = 0; i < text.size(); i += step) add(parser.Push(text.substr(i, step)));
  add(parser.Finish());
  return all;
}

struct Case {
  OutputParser::Options options;
  std::string text;
  std::string reasoning;
  std::string content;
  std::string calls;  // "name(arguments)name(arguments)"
};

void Check(const Case& test) {
  for (size_t step = 1; step <= test.text.size(); ++step) {
    const ParsedPiece piece = ParseInPieces(test.options, test.text, step);
    std::string calls;
    for (const ToolCall& call : piece.tool_calls) calls += call.name + "(" + call.arguments + ")";
    EXPECT_EQ(piece.reasoning, test.reasoning) << test.text << " step " << step;
    EXPECT_EQ(piece.content, test.content) << test.text << " step " << step;
    EXPECT_EQ(calls, test.calls) << test.text << " step " << step;
  }
}

constexpr OutputParser::Options kHermes = {.tools = ToolFormat::kHermes};
constexpr OutputParser::Options kMistral = {.tools = ToolFormat::kMistral};
constexpr OutputParser::Options kLlama3 = {.tools = ToolFormat::kLlama3};

TEST(OutputParserTest, PassesPlainTextThrough) {
  Check({{}, "a < b <tool_call> {x}", "", "a < b <tool_call> {x}", ""});
  Check({kHermes, "1 < 2 <b>\n", "", "1 < 2 <b>\n", ""});
  Check({kLlama3, "hello {\"name\": 1}", "", "hello {\"name\": 1}", ""});
}

TEST(OutputParserTest, ReadsHermesCalls) {
  Check({kHermes,
         "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}</x>\"}}\n</tool_call>\n"
         "<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>",
         "", "Let me see.", "f({\"a\":\"}</x>\"})g({})"});
}

TEST(OutputParserTest, ReadsAHermesCallWithoutItsEndMark) {
  Check({kHermes, "<tool_call>{\"name\":\"g\",\"arguments\":{}}", "", "", "g({})"});
}

TEST(OutputParserTest, GivesMalformedCallsOutAsText) {
  Check({kHermes, "<tool_call>{\"name\": 3}</tool_call>", "", "<tool_call>{\"name\": 3}</tool_call>",
         ""});
  Check({kHermes, "<tool_call>{\"name\": \"f\", \"argu", "", "<tool_call>{\"name\": \"f\", \"argu",
         ""});
  Check({kHermes, "<tool_call>nonsense</tool_call>", "", "<tool_call>nonsense</tool_call>", ""});
}

TEST(OutputParserTest, ReadsMistralCalls) {
  Check({kMistral, "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{\"a\":[1]}},{\"name\":\"g\"}]", "", "",
         "f({\"a\":[1]})g({})"});
}

TEST(OutputParserTest, ReadsLlama3Calls) {
  Check({kLlama3, "<|python_tag|>{\"name\":\"f\",\"parameters\":{\"a\":1}}", "", "", "f({\"a\":1})"});
  Check({kLlama3, "{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"parameters\":{}}", "", "",
         "f({})g({})"});
  Check({kLlama3, "{\"no\": \"call\"}", "", "{\"no\": \"call\"}", ""});
}

TEST(OutputParserTest, SplitsReasoning) {
  Check({{.split_reasoning = true}, "<think>\nhm < 3\n</think>\n\nYes", "\nhm < 3\n", "Yes", ""});
  Check({{.split_reasoning = true, .starts_in_reasoning = true}, "hm</think>Yes", "hm", "Yes", ""});
  Check({{.split_reasoning = true}, "No thoughts <think>", "", "No thoughts <think>", ""});
  Check({{.split_reasoning = true}, "<think>never ends </th", "never ends </th", "", ""});
}

TEST(OutputParserTest, FindsCallsAfterReasoning) {
  Check({{.tools = ToolFormat::kHermes, .split_reasoning = true},
         "<think>f?</think>\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "f?", "",
         "f({})"});
}

TEST(OutputParserTest, SurvivesDeepJson) {
  const std::string text = "<tool_call>" + std::string(5000, '[');
  EXPECT_EQ(ParseInPieces(kHermes, text, 1000).content, text);
  const std::string closed = "<tool_call>" + std::string(5000, '[') + std::string(5000, ']') +
                             "</tool_call>";
  EXPECT_EQ(ParseInPieces(kHermes, closed, 1000).content, closed);
}

TEST(OutputParserTest, PicksTheFormatByTheTemplate) {
  EXPECT_EQ(DetectToolFormat("... <tool_call> ..."), ToolFormat::kHermes);
  EXPECT_EQ(DetectToolFormat("... [TOOL_CALLS] ..."), ToolFormat::kMistral);
  EXPECT_EQ(DetectToolFormat("<|python_tag|>"), ToolFormat::kLlama3);
  EXPECT_EQ(DetectToolFormat("<|im_start|>"), ToolFormat::kNone);
}

}  // namespace
}  // namespace octavo::server
