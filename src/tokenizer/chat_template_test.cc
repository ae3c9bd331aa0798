// SPDX-License-Identifier: Apache-2.0
// Chat templates against Jinja2's output, limits and damaged input.
#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tokenizer/test_util.h"

namespace octavo {
namespace {

// Renders a template without messages.
Result<std::string> RenderSource(std::string_view source, Json messages = Json::array(),
                                 ChatTemplateOptions options = {}) {
  OCTAVO_ASSIGN_OR_RETURN(const auto made, ChatTemplate::Create(source, Json::object()));
  return made->Render(messages, options);
}

std::string MustRender(std::string_view source) {
  const auto text = RenderSource(source);
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? *text : "";
}

std::string TemplateSource(const Json& entry) {
  if (const Json* source = Find(entry, "source")) return source->get<std::string>();
  const auto text =
      ReadFile(testing::GoldenPath("templates/" + entry["name"].get<std::string>() + ".jinja"));
  EXPECT_TRUE(text.ok()) << text.status().ToString();
  return text.ok() ? *text : "";
}

TEST(ChatTemplateTest, EqualsJinja2OnFamilies) {
  setenv("TZ", "UTC", 1);
  const Json golden = testing::GoldenJson("chat_templates.json");
  ASSERT_GE(golden["templates"].size(), 15u);
  for (const Json& entry : golden["templates"]) {
    const auto made = ChatTemplate::Create(
        TemplateSource(entry),
        {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"null_value", nullptr}});
    ASSERT_TRUE(made.ok()) << entry["name"] << ": " << made.status().ToString();
    for (const Json& item : entry["cases"]) {
      const Json& conversation = golden["conversations"][item["conversation"].get<size_t>()];
      ChatTemplateOptions options;
      options.add_generation_prompt = *GetBoolOr(conversation, "add_generation_prompt", true);
      if (const Json* tools = Find(conversation, "tools")) options.tools = *tools;
      if (const Json* documents = Find(conversation, "documents")) options.documents = *documents;
      if (const Json* variables = Find(conversation, "variables")) options.variables = *variables;
      options.now = golden["now"].get<int64_t>();
      const auto text = (*made)->Render(conversation["messages"], options);
      if (item["output"].is_null()) {
        EXPECT_FALSE(text.ok()) << entry["name"] << " on " << item["conversation"];
        continue;
      }
      ASSERT_TRUE(text.ok()) << entry["name"] << " on " << item["conversation"] << ": "
                             << text.status().ToString();
      EXPECT_EQ(*text, item["output"].get<std::string>())
          << entry["name"] << " on " << item["conversation"];
    }
  }
}

TEST(ChatTemplateTest, TrimsBlocksAndLineStarts) {
  EXPECT_EQ(MustRender("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(MustRender("a\n  {{ 1 }}\nb"), "a\n  1\nb");
  EXPECT_EQ(MustRender("a \n {%- if true -%} \n b {%- endif %}"), "ab");
  EXPECT_EQ(MustRender("x {# gone #}\ny"), "x y");
  EXPECT_EQ(MustRender("  {%+ if true +%}\nkept{% endif %}"), "  \nkept");
}

TEST(ChatTemplateTest, SelectsNothingFromFalseValues) {
  EXPECT_EQ(MustRender("{{ none | selectattr('a', 'equalto', 1) | list | length }}"
                       "{{ none | reject('none') | list }}{{ none | map('upper') | list }}"),
            "0[][]");
}

TEST(ChatTemplateTest, ErrorsNameLineAndCause) {
  const auto syntax = ChatTemplate::Create("line\n{% if %}", Json::object());
  ASSERT_FALSE(syntax.ok());
  EXPECT_NE(syntax.status().message().find("line 2"), std::string::npos);
  const auto raised = RenderSource("{{ raise_exception('roles must alternate') }}");
  ASSERT_FALSE(raised.ok());
  EXPECT_NE(raised.status().message().find("roles must alternate"), std::string::npos);
  const auto include = ChatTemplate::Create("{% include 'x' %}", Json::object());
  ASSERT_FALSE(include.ok());
  EXPECT_NE(include.status().message().find("include"), std::string::npos);
  EXPECT_FALSE(RenderSource("{{ missing.attribute }}").ok());
  EXPECT_FALSE(RenderSource("{{ 'a' + 1 }}").ok());
  EXPECT_FALSE(RenderSource("{{ [1].append(2) }}").ok());
  EXPECT_FALSE(RenderSource("{{ 1 | nosuchfilter }}").ok());
  EXPECT_FALSE(RenderSource("{{ 1 // 0 }}").ok());
  EXPECT_FALSE(RenderSource("{{ 9223372036854775807 + 1 }}").ok());
}

// Each of these would use minutes or gigabytes without the limits.
TEST(ChatTemplateTest, LimitsHostileTemplates) {
  const char* const hostile[] = {
      "{% for a in range(999999) %}{% for b in range(999999) %}{{ a }}{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s "
      "%}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor "
      "%}{{ ns.l }}",
      "{{ 'x' * 999999999999 }}",
      "{{ [0] * 999999999999 }}",
      "{{ 'x'.center(999999999) }}",
      "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
      "{{ ('x' * 1000000) | join('y' * 1000000) }}",
      "{{ range(99999999999) }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ [1] | tojson(indent=99999999) }}",
      "{% for i in range(999999) %}{{ 'long text that adds up' * 99 }}{% endfor %}",
  };
  for (const char* source : hostile) {
    const auto text = RenderSource(source);
    EXPECT_FALSE(text.ok()) << source;
  }
}

TEST(ChatTemplateTest, LimitsNestingOfSource) {
  const auto repeat = [](std::string_view part, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += part;
    return out;
  };
  const std::string sources[] = {
      "{{ " + repeat("(", 100'000) + repeat(")", 100'000) + " }}",
      "{{ " + repeat("[", 100'000) + " }}",
      "{{ 1" + repeat("+1", 100'000) + " }}",
      "{{ " + repeat("not ", 100'000) + "1 }}",
      "{{ " + repeat("-", 100'000) + "1 }}",
      "{{ x" + repeat(".a", 100'000) + " }}",
      "{{ x" + repeat("|trim", 100'000) + " }}",
      "{{ 1" + repeat(" if 1 else 1", 50'000) + " }}",
      repeat("{% if 1 %}", 50'000),
      std::string(2 << 20, 'x'),
  };
  for (const std::string& source : sources) {
    EXPECT_FALSE(ChatTemplate::Create(source, Json::object()).ok()) << source.substr(0, 40);
  }
}

// Namespaces that refer to each other must be freed (checked by the leak sanitizer).
TEST(ChatTemplateTest, FreesNamespaceCycles) {
  EXPECT_EQ(MustRender("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}ok"),
            "ok");
}

TEST(ChatTemplateTest, SurvivesMutations) {
  std::mt19937 rng(11);
  const Json golden = testing::GoldenJson("chat_templates.json");
  int rendered = 0;
  for (const Json& entry : golden["templates"]) {
    const std::string source = TemplateSource(entry);
    for (int i = 0; i < 60; ++i) {
      ChatTemplateOptions options;
      options.tools = golden["conversations"][4]["tools"];
      const auto text = RenderSource(testing::Mutate(source, &rng),
                                     golden["conversations"][5]["messages"], options);
      rendered += text.ok();
    }
  }
  EXPECT_GT(rendered, 0);
}

}  // namespace
}  // namespace octavo
