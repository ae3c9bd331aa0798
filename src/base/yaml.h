// SPDX-License-Identifier: Apache-2.0
// Bounded YAML parsing into a tree that remembers lines, for files that people write.
//
// The core schema without what configuration files do not need and attackers do: anchors, aliases,
// tags, complex and duplicate keys, several documents are errors that name the line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

struct YamlMember;

struct YamlNode {
  enum class Kind : uint8_t { kScalar, kList, kMap };
  Kind kind = Kind::kScalar;
  int line = 0;  // from 1
  Json scalar;   // null, bool, integer, double or string (always for quoted ones)
  std::vector<YamlNode> items;      // kList
  std::vector<YamlMember> members;  // kMap, in order

  bool is_null() const { return kind == Kind::kScalar && scalar.is_null(); }
  // The member, or nullptr when absent, null, or the node is no map.
  const YamlNode* Find(std::string_view key) const;
};

struct YamlMember {
  std::string key;
  YamlNode value;
};

struct YamlLimits {
  size_t max_bytes = size_t{256} << 10;
  int max_depth = 24;
  size_t max_nodes = 50'000;
};

// Never throws. Errors: InvalidArgument "line N: ..."; ResourceExhausted beyond the limits.
Result<YamlNode> ParseYaml(std::string_view text, const YamlLimits& limits = {});

Json ToJson(const YamlNode& node);

// "a list", for messages.
std::string_view Describe(const YamlNode& node);

}  // namespace octavo
