// SPDX-License-Identifier: Apache-2.0
// The "post_processor" part of tokenizer.json: special tokens around the text's own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

// What Encode(add_special_tokens) adds around one text. Immutable.
class PostProcessor {
 public:
  // null adds nothing. TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (offsets
  // only: nothing to do here) and Sequences of these; others are refused by name.
  static Result<PostProcessor> Create(const Json* config);

  // Adds the given ids before and after every text.
  static PostProcessor Around(std::vector<int32_t> prefix, std::vector<int32_t> suffix);

  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<int32_t>& suffix() const { return suffix_; }
  // Type of the component that adds tokens, e.g. "TemplateProcessing"; empty when none does.
  const std::string& name() const { return name_; }

 private:
  Status Add(const Json& config, int depth);
  Status AddTemplate(const Json& config);
  Status AddFixed(const Json& config);

  std::string name_;
  std::vector<int32_t> prefix_;
  std::vector<int32_t> suffix_;
};

}  // namespace octavo
