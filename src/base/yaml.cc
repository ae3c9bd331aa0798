// SPDX-License-Identifier: Apache-2.0
// Builds the tree from yaml-cpp's events, so that limits hold before memory is taken.
#include "base/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <optional>
#include <sstream>
#include <utility>

namespace octavo {
namespace {

// Carries a Status through yaml-cpp, which knows exceptions only. Never leaves this file.
struct Stop : std::exception {
  explicit Stop(Status why) : status(std::move(why)) {}
  const char* what() const noexcept override { return "stopped"; }
  Status status;
};

int LineOf(const YAML::Mark& mark) { return mark.line + 1; }

[[noreturn]] void Refuse(int line, std::string_view what) {
  throw Stop(InvalidArgument(fmt::format("line {}: {}", line, what)));
}

// The value of a plain scalar in the core schema.
Json PlainScalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  int64_t integer = 0;
  const auto whole = std::from_chars(begin, end, integer);
  if (whole.ec == std::errc() && whole.ptr == end) return integer;
  const bool number = text.find_first_not_of("0123456789+-.eE") == std::string::npos &&
                      text.find_first_of("0123456789") != std::string::npos;
  double real = 0;
  const auto parsed = std::from_chars(begin, end, real);
  if (number && parsed.ec == std::errc() && parsed.ptr == end && std::isfinite(real)) return real;
  return text;
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const YamlLimits& limits) : limits_(limits) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) Refuse(LineOf(mark), "a second document, want one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Add(YamlNode{.line = LineOf(mark), .scalar = {}, .items = {}, .members = {}});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    Refuse(LineOf(mark), "aliases (*name) are not supported");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (ExpectsKey()) return TakeKey(LineOf(mark), value);
    // yaml-cpp's tag of quoted and block scalars is "!", of plain ones "?".
    Add(YamlNode{.line = LineOf(mark),
                 .scalar = tag == "!" ? Json(value) : PlainScalar(value),
                 .items = {},
                 .members = {}});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    Open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    Open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

  std::optional<YamlNode> Take() { return std::move(root_); }

 private:
  struct Level {
    YamlNode node;
    std::optional<std::string> key;  // of the member whose value comes next
  };

  static void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) Refuse(LineOf(mark), "anchors (&name) are not supported");
  }
  static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    Refuse(LineOf(mark), fmt::format("tags ({:.40}) are not supported", tag));
  }

  bool ExpectsKey() const {
    return !levels_.empty() && levels_.back().node.kind == YamlNode::Kind::kMap &&
           !levels_.back().key;
  }

  void TakeKey(int line, const std::string& key) {
    Level& level = levels_.back();
    // A set, and not a walk over the members, would pay off at sizes the limits do not allow.
    for (const auto& [name, value] : level.node.members) {
      if (name == key) {
        Refuse(line, fmt::format("'{:.60}' is given twice, first in line {}", key, value.line));
      }
    }
    level.key = key;
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (ExpectsKey()) Refuse(LineOf(mark), "a key that is a list or a map");
    if (std::ssize(levels_) >= limits_.max_depth) {
      throw Stop(ResourceExhausted(
          fmt::format("line {}: deeper than {} levels", LineOf(mark), limits_.max_depth)));
    }
    levels_.push_back({.node = {.kind = kind, .line = LineOf(mark), .scalar = {}, .items = {}, .members = {}},
                       .key = std::nullopt});
  }

  void Close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    Add(std::move(node));
  }

  void Add(YamlNode node) {
    if (++nodes_ > limits_.max_nodes) {
      throw Stop(ResourceExhausted(fmt::format("more than {} values", limits_.max_nodes)));
    }
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::kList) {
      level.node.items.push_back(std::move(node));
      return;
    }
    if (!level.key) Refuse(node.line, "a value without a key");
    level.node.members.push_back({*std::move(level.key), std::move(node)});
    level.key.reset();
  }

  const YamlLimits limits_;
  int documents_ = 0;
  size_t nodes_ = 0;
  std::vector<Level> levels_;
  std::optional<YamlNode> root_;
};

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  const auto it = std::find_if(members.begin(), members.end(),
                               [&](const YamlMember& member) { return member.key == key; });
  return it == members.end() || it->value.is_null() ? nullptr : &it->value;
}

Result<YamlNode> ParseYaml(std::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return ResourceExhausted(fmt::format("{} bytes, limit {}", text.size(), limits.max_bytes));
  }
  if (text.find('\0') != std::string_view::npos) return InvalidArgument("holds a NUL byte");
  TreeBuilder builder(limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop& stop) {
    return stop.status;
  } catch (const YAML::Exception& error) {
    return InvalidArgument(fmt::format("line {}: {}", LineOf(error.mark), error.msg));
  } catch (const std::exception& error) {
    return InvalidArgument(fmt::format("not YAML: {}", error.what()));
  }
  std::optional<YamlNode> root = builder.Take();
  if (!root) return InvalidArgument("the file is empty");
  return *std::move(root);
}

Json ToJson(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar) return node.scalar;
  if (node.kind == YamlNode::Kind::kList) {
    Json list = Json::array();
    for (const YamlNode& item : node.items) list.push_back(ToJson(item));
    return list;
  }
  Json map = Json::object();
  for (const auto& [key, value] : node.members) map[key] = ToJson(value);
  return map;
}

std::string_view Describe(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kList) return "a list";
  if (node.kind == YamlNode::Kind::kMap) return "a map";
  if (node.scalar.is_string()) return "a string";
  if (node.scalar.is_boolean()) return "true or false";
  return node.scalar.is_null() ? "empty" : "a number";
}

}  // namespace octavo
