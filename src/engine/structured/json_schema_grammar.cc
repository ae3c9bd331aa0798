// SPDX-License-Identifier: Apache-2.0
// Walks a schema; every subschema that is referred to becomes a rule, so recursion is free.
#include "engine/structured/json_schema_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "engine/structured/integer_range.h"
#include "engine/structured/regex_grammar.h"

namespace octavo {
namespace {

using Expr = GrammarBuilder::Expr;

constexpr int kMaxSchemaDepth = 64;
constexpr int32_t kMaxBlanks = 20;

constexpr std::string_view kAnnotations[] = {
    "title",      "description", "default",   "examples", "$schema",     "$id",   "$comment",
    "deprecated", "readOnly",    "writeOnly", "$defs",    "definitions", "strict"};

const std::map<std::string, std::string, std::less<>> kFormats = {
    {"date", R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]))"},
    {"time", R"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"date-time",
     R"(\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))"},
    {"uuid", R"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"}};

Status Unsupported(const std::string& path, std::string_view what) {
  return InvalidArgument(fmt::format("JSON schema at '{}': {}", path, what));
}

class SchemaCompiler {
 public:
  SchemaCompiler(const Json& root, const JsonGrammarOptions& options, GrammarBuilder& builder)
      : root_(root), b_(builder) {
    blank_ = options.compact_whitespace
                 ? b_.Empty()
                 : b_.Repeat(b_.CodePoints(std::vector<GrammarBuilder::CodePointRange>{
                                 {'\t', '\n'}, {'\r', '\r'}, {' ', ' '}}),
                             0, kMaxBlanks);
    separator_blank_ = options.compact_whitespace ? b_.Optional(b_.Literal(" ")) : blank_;
    comma_ = b_.Sequence({blank_, b_.Literal(","), separator_blank_});
    colon_ = b_.Sequence({blank_, b_.Literal(":"), separator_blank_});
    MakeAnyValue();
  }

  Result<int32_t> Root() { return RuleFor(root_, "#", 0); }

 private:
  // --- what every schema shares ---
  void MakeAnyValue() {
    const Expr hex = b_.Choice({b_.Byte('0', '9'), b_.Byte('a', 'f'), b_.Byte('A', 'F')});
    const Expr escape = b_.Sequence(
        {b_.Literal("\\"),
         b_.Choice({OneOf("\"\\/bfnrt"), b_.Sequence({b_.Literal("u"), b_.Repeat(hex, 4, 4)})})});
    const Expr plain = b_.CodePointsExcept({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
    character_ = AsRule(b_.Choice({plain, escape}));
    string_ = AsRule(Quoted(b_.Repeat(character_, 0, GrammarBuilder::kUnbounded)));
    const Expr digits = b_.Repeat(b_.Byte('0', '9'), 1, GrammarBuilder::kUnbounded);
    const Expr more = b_.Repeat(b_.Byte('0', '9'), 0, GrammarBuilder::kUnbounded);
    integer_ = b_.Sequence({b_.Optional(b_.Literal("-")),
                            b_.Choice({b_.Literal("0"), b_.Sequence({b_.Byte('1', '9'), more})})});
    const Expr exponent = b_.Sequence({OneOf("eE"), b_.Optional(OneOf("+-")), digits});
    number_ = b_.Sequence(
        {integer_, b_.Optional(b_.Sequence({b_.Literal("."), digits})), b_.Optional(exponent)});
    any_rule_ = b_.NewRule();
    const Expr any = b_.Call(any_rule_);
    any_member_ = b_.Sequence({string_, colon_, any});
    any_object_ = Bracketed("{", List(any_member_, 0, GrammarBuilder::kUnbounded), "}");
    any_array_ = Bracketed("[", List(any, 0, GrammarBuilder::kUnbounded), "]");
    b_.Define(any_rule_, b_.Choice({string_, number_, any_object_, any_array_, b_.Literal("true"),
                                    b_.Literal("false"), b_.Literal("null")}));
  }

  // Written once, however often it is used.
  Expr AsRule(Expr body) {
    const int32_t rule = b_.NewRule();
    b_.Define(rule, body);
    return b_.Call(rule);
  }

  Expr OneOf(std::string_view bytes) {
    std::vector<Expr> options;
    for (const char c : bytes) options.push_back(b_.Literal(std::string_view(&c, 1)));
    return b_.Choice(std::move(options));
  }

  Expr Quoted(Expr content) { return b_.Sequence({b_.Literal("\""), content, b_.Literal("\"")}); }

  Expr Bracketed(std::string_view open, Expr content, std::string_view close) {
    return b_.Sequence({b_.Literal(open), blank_, content, blank_, b_.Literal(close)});
  }

  // min to max items with commas between them.
  Expr List(Expr item, int32_t min, int32_t max) {
    if (max == 0) return b_.Empty();
    const Expr more = b_.Sequence({comma_, item});
    const int32_t rest = max == GrammarBuilder::kUnbounded ? max : max - 1;
    const Expr list = b_.Sequence({item, b_.Repeat(more, std::max(min - 1, 0), rest)});
    return min == 0 ? b_.Optional(list) : list;
  }

  // --- schemas ---
  // References are to rules, made once per place in the document.
  Result<int32_t> RuleFor(const Json& schema, const std::string& path, int depth) {
    if (const auto it = rules_.find(path); it != rules_.end()) return it->second;
    const int32_t rule = rules_[path] = b_.NewRule();
    OCTAVO_ASSIGN_OR_RETURN(const Expr body, Schema(schema, path, depth));
    b_.Define(rule, body);
    return rule;
  }

  Result<Expr> Schema(const Json& schema, const std::string& path, int depth) {
    if (depth > kMaxSchemaDepth) return Unsupported(path, "nests too deep");
    if (schema.is_boolean() && schema.get<bool>()) return b_.Call(any_rule_);
    if (!schema.is_object()) return Unsupported(path, "not an object");
    if (const Json* reference = Find(schema, "$ref")) return Reference(*reference, path, depth);
    if (schema.contains("const")) return LiteralValue(schema.at("const"));
    if (const Json* values = Find(schema, "enum")) return Enumeration(*values, path);
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
      if (const Json* options = Find(schema, key)) {
        return Combination(schema, key, *options, path, depth);
      }
    }
    return Typed(schema, path, depth);
  }

  Result<Expr> Reference(const Json& reference, const std::string& path, int depth) {
    if (!reference.is_string()) return Unsupported(path, "$ref is no text");
    const auto target = reference.get<std::string>();
    if (!target.starts_with("#")) return Unsupported(path, "$ref to another document");
    if (target == "#") {
      OCTAVO_ASSIGN_OR_RETURN(const int32_t rule, RuleFor(root_, "#", depth + 1));
      return b_.Call(rule);
    }
    Json::json_pointer pointer;
    try {
      pointer = Json::json_pointer(target.substr(1));
      if (!root_.contains(pointer)) return Unsupported(path, "$ref to nothing: " + target);
    } catch (const Json::exception&) {
      return Unsupported(path, "bad $ref: " + target);
    }
    OCTAVO_ASSIGN_OR_RETURN(const int32_t rule, RuleFor(root_.at(pointer), target, depth + 1));
    return b_.Call(rule);
  }

  Expr LiteralValue(const Json& value) { return b_.Literal(DumpJson(value)); }

  Result<Expr> Enumeration(const Json& values, const std::string& path) {
    if (!values.is_array() || values.empty()) return Unsupported(path, "enum: want a filled list");
    std::vector<Expr> options;
    for (const Json& value : values) options.push_back(LiteralValue(value));
    return b_.Choice(std::move(options));
  }

  Result<Expr> Combination(const Json& schema, const char* key, const Json& options,
                           const std::string& path, int depth) {
    OCTAVO_RETURN_IF_ERROR(OnlyKeys(schema, {key}, path));
    if (!options.is_array() || options.empty()) {
      return Unsupported(path, fmt::format("{}: want a filled list", key));
    }
    if (std::string_view(key) == "allOf" && options.size() > 1) {
      return Unsupported(path, "allOf of more than one schema is not supported");
    }
    std::vector<Expr> parts;
    for (size_t i = 0; i < options.size(); ++i) {
      OCTAVO_ASSIGN_OR_RETURN(const Expr part,
                              Schema(options[i], fmt::format("{}/{}/{}", path, key, i), depth + 1));
      parts.push_back(part);
    }
    return b_.Choice(std::move(parts));
  }

  Status OnlyKeys(const Json& schema, std::vector<std::string_view> allowed,
                  const std::string& path) {
    for (const auto& [key, value] : schema.items()) {
      const auto is = [&key = key](std::string_view name) { return name == key; };
      if (std::any_of(allowed.begin(), allowed.end(), is)) continue;
      if (std::any_of(std::begin(kAnnotations), std::end(kAnnotations), is)) continue;
      return Unsupported(path, fmt::format("'{}' is not supported here", key));
    }
    return Status::Ok();
  }

  Result<Expr> Typed(const Json& schema, const std::string& path, int depth) {
    const Json* type = Find(schema, "type");
    if (type == nullptr) {
      if (schema.contains("properties")) return Object(schema, path, depth);
      if (schema.contains("items") || schema.contains("prefixItems")) {
        return Array(schema, path, depth);
      }
      OCTAVO_RETURN_IF_ERROR(OnlyKeys(schema, {}, path));
      return b_.Call(any_rule_);
    }
    if (type->is_string()) return OfType(schema, type->get<std::string>(), path, depth);
    if (!type->is_array() || type->empty()) return Unsupported(path, "type: want a name or a list");
    std::vector<Expr> options;
    for (const Json& name : *type) {
      if (!name.is_string()) return Unsupported(path, "type: want names");
      OCTAVO_ASSIGN_OR_RETURN(const Expr option,
                              OfType(schema, name.get<std::string>(), path, depth));
      options.push_back(option);
    }
    return b_.Choice(std::move(options));
  }

  Result<Expr> OfType(const Json& schema, const std::string& type, const std::string& path,
                      int depth) {
    const bool single = Find(schema, "type")->is_string();
    if (type == "object") return Object(schema, path, depth);
    if (type == "array") return Array(schema, path, depth);
    if (type == "string") return String(schema, path);
    if (type == "integer") return Integer(schema, path);
    if (single) OCTAVO_RETURN_IF_ERROR(OnlyKeys(schema, {"type"}, path));
    if (type == "number") return number_;
    if (type == "boolean") return b_.Choice({b_.Literal("true"), b_.Literal("false")});
    if (type == "null") return b_.Literal("null");
    return Unsupported(path, fmt::format("type '{}' is unknown", type));
  }

  Status KeysOfType(const Json& schema, std::vector<std::string_view> allowed,
                    const std::string& path) {
    const Json* type = Find(schema, "type");
    allowed.push_back("type");
    // With a list of types each keyword speaks of one of them.
    if (type != nullptr && type->is_array()) {
      for (const char* key :
           {"properties", "required", "additionalProperties", "items", "minItems", "maxItems",
            "prefixItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum"}) {
        allowed.push_back(key);
      }
    }
    return OnlyKeys(schema, std::move(allowed), path);
  }

  Result<Expr> String(const Json& schema, const std::string& path) {
    OCTAVO_RETURN_IF_ERROR(
        KeysOfType(schema, {"minLength", "maxLength", "pattern", "format"}, path));
    const bool bounded = schema.contains("minLength") || schema.contains("maxLength");
    std::string pattern;
    OCTAVO_ASSIGN_OR_RETURN(pattern, GetStringOr(schema, "pattern", ""));
    OCTAVO_ASSIGN_OR_RETURN(const std::string format, GetStringOr(schema, "format", ""));
    if (pattern.empty() && !format.empty()) {
      const auto it = kFormats.find(format);
      if (it == kFormats.end())
        return Unsupported(path, "format '" + format + "' is not supported");
      pattern = it->second;
    }
    if (!pattern.empty()) {
      if (bounded) return Unsupported(path, "pattern or format together with a length");
      auto content = ParseRegex(pattern, b_);
      if (!content.ok()) return std::move(content).status().WithContext(path);
      return Quoted(*content);
    }
    OCTAVO_ASSIGN_OR_RETURN(const auto counts, Counts(schema, "minLength", "maxLength", path));
    return Quoted(b_.Repeat(character_, counts.first, counts.second));
  }

  Result<std::pair<int32_t, int32_t>> Counts(const Json& schema, const char* min_key,
                                             const char* max_key, const std::string& path) {
    OCTAVO_ASSIGN_OR_RETURN(const int64_t min, GetIntOr(schema, min_key, 0, 0, kMaxRepeat));
    int64_t max = GrammarBuilder::kUnbounded;
    if (Find(schema, max_key) != nullptr) {
      OCTAVO_ASSIGN_OR_RETURN(max, GetInt(schema, max_key, 0, kMaxRepeat));
      if (max < min) return Unsupported(path, fmt::format("{} is less than {}", max_key, min_key));
    }
    return std::pair(static_cast<int32_t>(min), static_cast<int32_t>(max));
  }

  Result<Expr> Integer(const Json& schema, const std::string& path) {
    OCTAVO_RETURN_IF_ERROR(
        KeysOfType(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}, path));
    IntegerRange range;
    const auto bound = [&](const char* key, int64_t offset, std::optional<int64_t>& out) -> Status {
      if (Find(schema, key) == nullptr) return Status::Ok();
      OCTAVO_ASSIGN_OR_RETURN(const int64_t value,
                              GetInt(schema, key, -IntegerRange::kLimit, IntegerRange::kLimit));
      out = value + offset;
      return Status::Ok();
    };
    OCTAVO_RETURN_IF_ERROR(bound("minimum", 0, range.min));
    OCTAVO_RETURN_IF_ERROR(bound("exclusiveMinimum", 1, range.min));
    OCTAVO_RETURN_IF_ERROR(bound("maximum", 0, range.max));
    OCTAVO_RETURN_IF_ERROR(bound("exclusiveMaximum", -1, range.max));
    if (!range.min && !range.max) return integer_;
    if (range.min && range.max && *range.min > *range.max) {
      return Unsupported(path, "minimum is more than maximum");
    }
    return AddIntegerRange(range, b_);
  }

  Result<Expr> Array(const Json& schema, const std::string& path, int depth) {
    OCTAVO_RETURN_IF_ERROR(
        KeysOfType(schema, {"items", "prefixItems", "minItems", "maxItems"}, path));
    OCTAVO_ASSIGN_OR_RETURN(const auto counts, Counts(schema, "minItems", "maxItems", path));
    const Json* items = Find(schema, "items");
    if (const Json* prefix = Find(schema, "prefixItems")) {
      return Tuple(*prefix, items, path, depth);
    }
    Expr item = b_.Call(any_rule_);
    if (items != nullptr) {
      OCTAVO_ASSIGN_OR_RETURN(const int32_t rule, RuleFor(*items, path + "/items", depth + 1));
      item = b_.Call(rule);
    }
    return Bracketed("[", List(item, counts.first, counts.second), "]");
  }

  // Exactly the given items; further ones only if "items" describes them.
  Result<Expr> Tuple(const Json& prefix, const Json* items, const std::string& path, int depth) {
    if (!prefix.is_array() || prefix.empty()) return Unsupported(path, "prefixItems: want a list");
    std::vector<Expr> parts;
    for (size_t i = 0; i < prefix.size(); ++i) {
      OCTAVO_ASSIGN_OR_RETURN(
          const Expr part, Schema(prefix[i], fmt::format("{}/prefixItems/{}", path, i), depth + 1));
      if (i > 0) parts.push_back(comma_);
      parts.push_back(part);
    }
    if (items != nullptr && items->is_object()) {
      OCTAVO_ASSIGN_OR_RETURN(const int32_t rule, RuleFor(*items, path + "/items", depth + 1));
      parts.push_back(
          b_.Repeat(b_.Sequence({comma_, b_.Call(rule)}), 0, GrammarBuilder::kUnbounded));
    }
    return Bracketed("[", b_.Sequence(std::move(parts)), "]");
  }

  Result<Expr> Object(const Json& schema, const std::string& path, int depth) {
    OCTAVO_RETURN_IF_ERROR(
        KeysOfType(schema, {"properties", "required", "additionalProperties"}, path));
    const Json* additional = Find(schema, "additionalProperties");
    const bool closed =
        additional != nullptr && additional->is_boolean() && !additional->get<bool>();
    Expr extra = closed ? -1 : any_member_;
    if (additional != nullptr && additional->is_object()) {
      OCTAVO_ASSIGN_OR_RETURN(const int32_t rule,
                              RuleFor(*additional, path + "/additionalProperties", depth + 1));
      extra = b_.Sequence({string_, colon_, b_.Call(rule)});
    }
    std::vector<Member> members;
    OCTAVO_RETURN_IF_ERROR(Members(schema, path, depth, members));
    // Declared properties leave no room for others unless the schema says so itself.
    if (!members.empty() && additional == nullptr) extra = -1;
    return Bracketed("{", MemberList(members, extra), "}");
  }

  struct Member {
    Expr expr = 0;
    bool required = false;
  };

  Status Members(const Json& schema, const std::string& path, int depth,
                 std::vector<Member>& members) {
    const Json* properties = Find(schema, "properties");
    std::vector<std::string> required;
    if (const Json* names = Find(schema, "required")) {
      if (!names->is_array()) return Unsupported(path, "required: want a list of names");
      for (const Json& name : *names) {
        if (!name.is_string()) return Unsupported(path, "required: want a list of names");
        required.push_back(name.get<std::string>());
      }
    }
    if (properties != nullptr && !properties->is_object()) {
      return Unsupported(path, "properties: want an object");
    }
    for (const std::string& name : required) {
      if (properties == nullptr || !properties->contains(name)) {
        return Unsupported(path, "required '" + name + "' is not among the properties");
      }
    }
    if (properties == nullptr) return Status::Ok();
    for (const auto& [name, value] : properties->items()) {
      OCTAVO_ASSIGN_OR_RETURN(const int32_t rule,
                              RuleFor(value, path + "/properties/" + name, depth + 1));
      const Expr key = b_.Literal(DumpJson(Json(name)));
      members.push_back({b_.Sequence({key, colon_, b_.Call(rule)}),
                         std::find(required.begin(), required.end(), name) != required.end()});
    }
    return Status::Ok();
  }

  // tail[i][started]: what may follow when members before i are dealt with, and some or none of
  // them were written. Rules, so that 2n of them serve 2^n subsets.
  Expr MemberList(const std::vector<Member>& members, Expr extra) {
    std::array<Expr, 2> tail = {b_.Empty(), b_.Empty()};
    if (extra >= 0) {
      const Expr more = b_.Repeat(b_.Sequence({comma_, extra}), 0, GrammarBuilder::kUnbounded);
      tail = {b_.Optional(b_.Sequence({extra, more})), more};
    }
    for (auto member = members.rbegin(); member != members.rend(); ++member) {
      std::array<int32_t, 2> rules = {b_.NewRule(), b_.NewRule()};
      for (size_t started = 0; started < 2; ++started) {
        std::vector<Expr> with = {member->expr, tail[1]};
        if (started == 1) with.insert(with.begin(), comma_);
        std::vector<Expr> options = {b_.Sequence(std::move(with))};
        if (!member->required) options.push_back(tail[started]);
        b_.Define(rules[started], b_.Choice(std::move(options)));
      }
      tail = {b_.Call(rules[0]), b_.Call(rules[1])};
    }
    return tail[0];
  }

  const Json& root_;
  GrammarBuilder& b_;
  std::map<std::string, int32_t> rules_;  // by path in the document
  Expr blank_ = 0;
  Expr separator_blank_ = 0;
  Expr comma_ = 0;
  Expr colon_ = 0;
  Expr character_ = 0;
  Expr string_ = 0;
  Expr integer_ = 0;
  Expr number_ = 0;
  Expr any_member_ = 0;
  Expr any_object_ = 0;
  Expr any_array_ = 0;
  int32_t any_rule_ = 0;
};

}  // namespace

Result<int32_t> AddJsonSchema(const Json& schema, const JsonGrammarOptions& options,
                              GrammarBuilder& builder) {
  return SchemaCompiler(schema, options, builder).Root();
}

}  // namespace octavo
