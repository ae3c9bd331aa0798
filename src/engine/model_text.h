// SPDX-License-Identifier: Apache-2.0
// The text side of a model: tokenizer, chat template, end tokens, default sampling parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "octavo/engine.h"
#include "tokenizer/text_processor.h"

namespace octavo {

class ModelText {
 public:
  // From the checkpoint's own files, or those `options` names. A model without a chat template is
  // fine; one without a tokenizer is not.
  static Result<std::unique_ptr<ModelText>> Open(const EngineOptions& options,
                                                 const Checkpoint& checkpoint);

  const Tokenizer& tokenizer() const { return text_->tokenizer(); }
  // Null if the model has none and none was given.
  const ChatTemplate* chat_template() const {
    return own_template_ != nullptr ? own_template_.get() : text_->chat_template();
  }
  const std::vector<int32_t>& end_tokens() const { return text_->eos_token_ids(); }
  const SamplingParams& default_params() const { return default_params_; }

  Result<std::string> RenderChat(const ChatRequest& chat) const;

  // The bytes that one token stands for, alone; empty for an unknown id.
  std::string TokenBytes(int32_t id) const;

 private:
  Status ReadGenerationConfig(const std::string& path);

  std::unique_ptr<TextProcessor> text_;
  std::unique_ptr<ChatTemplate> own_template_;  // the one the options name
  SamplingParams default_params_;
  bool byte_level_ = false;
};

}  // namespace octavo
