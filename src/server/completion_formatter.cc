// SPDX-License-Identifier: Apache-2.0
// Replies of /v1/completions: choices with text and the legacy logprobs arrays.
#include <map>
#include <utility>

#include "server/completion_request.h"

namespace octavo::server {
namespace {

// What one choice has produced so far.
struct ChoiceState {
  std::string text;
  std::vector<int32_t> token_ids;
  Json logprobs;
  size_t text_offset = 0;  // In code points, of the next token.
  Json finish_reason;
  Json stop_reason;
};

Json EmptyLogprobs() {
  return {{"tokens", Json::array()},
          {"token_logprobs", Json::array()},
          {"top_logprobs", Json::array()},
          {"text_offset", Json::array()}};
}

class CompletionFormatter : public ReplyFormatter {
 public:
  explicit CompletionFormatter(CompletionFormat format) : format_(std::move(format)) {}

  void Begin(std::string& /*events*/) override {}

  void Stream(size_t prompt, RequestOutput output, const Usage& usage,
              std::string& events) override {
    // The echo comes with the first output, which has the prompt's logprobs if they were asked for.
    if (!output.prompt_logprobs.empty()) prompt_logprobs_[prompt] = output.prompt_logprobs;
    for (CompletionDelta& delta : output.choices) {
      const size_t index = IndexOf(prompt, delta.index);
      ChoiceState piece;
      piece.text_offset = offsets_[index];
      if (!started_[index]) {
        started_[index] = true;
        StartChoice(prompt, piece);
      }
      Add(std::move(delta), piece);
      offsets_[index] = piece.text_offset;
      Json chunk = Envelope();
      chunk["choices"] = Json::array({ChoiceJson(index, prompt, piece)});
      if (format_.continuous_usage_stats) chunk["usage"] = UsageJson(usage);
      AppendEvent(events, chunk);
    }
  }

  Json UsageChunk(const Usage& usage) override {
    Json chunk = Envelope();
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(usage);
    return chunk;
  }

  void Collect(size_t prompt, RequestOutput output) override {
    if (!output.prompt_logprobs.empty()) prompt_logprobs_[prompt] = output.prompt_logprobs;
    for (CompletionDelta& delta : output.choices) {
      const size_t index = IndexOf(prompt, delta.index);
      // The prompt's part is put in front when the first delta comes, after its logprobs.
      if (!started_[index]) {
        started_[index] = true;
        StartChoice(prompt, choices_[index]);
      }
      Add(std::move(delta), choices_[index]);
    }
  }

  Json Result(const Usage& usage) override {
    Json reply = Envelope();
    reply["choices"] = Json::array();
    for (const auto& [index, choice] : choices_) {
      reply["choices"].push_back(ChoiceJson(index, index / static_cast<size_t>(format_.n), choice));
    }
    reply["usage"] = UsageJson(usage);
    return reply;
  }

 private:
  size_t IndexOf(size_t prompt, int32_t choice) const {
    return prompt * static_cast<size_t>(format_.n) + static_cast<size_t>(choice);
  }

  Json Envelope() const {
    return {{"id", format_.id},
            {"object", "text_completion"},
            {"created", format_.created},
            {"model", format_.model}};
  }

  void StartChoice(size_t prompt, ChoiceState& choice) {
    if (format_.logprobs && choice.logprobs.is_null()) choice.logprobs = EmptyLogprobs();
    if (!format_.echo) return;
    choice.text = format_.prompt_texts[prompt];
    if (!format_.logprobs) return;
    const auto& ids = format_.prompt_token_ids[prompt];
    const auto& positions = prompt_logprobs_[prompt];
    for (size_t i = 0; i < positions.size(); ++i) {
      if (positions[i]) {
        AddLogprob(*positions[i], choice);
      } else if (i < ids.size()) {
        AddFirstToken(ids[i], prompt, choice);
      }
    }
  }

  // The first token of a prompt has no probability, only a place.
  void AddFirstToken(int32_t id, size_t prompt, ChoiceState& choice) {
    const TokenLogprob token = {id, 0, 0, format_.first_token_bytes[prompt]};
    const std::string text = TokenText(token, format_.tokens_as_ids);
    choice.logprobs["tokens"].push_back(text);
    choice.logprobs["token_logprobs"].push_back(nullptr);
    choice.logprobs["top_logprobs"].push_back(nullptr);
    choice.logprobs["text_offset"].push_back(choice.text_offset);
    choice.text_offset += CountCodePoints(SanitizeUtf8(token.bytes));
  }

  void AddLogprob(const PositionLogprobs& position, ChoiceState& choice) {
    Json& out = choice.logprobs;
    out["tokens"].push_back(TokenText(position.token, format_.tokens_as_ids));
    out["token_logprobs"].push_back(FiniteLogprob(position.token.logprob));
    Json top = Json::object();
    for (const TokenLogprob& token : position.top) {
      // Two tokens may look alike as text (parts of characters): the likelier one stays.
      const std::string text = TokenText(token, format_.tokens_as_ids);
      if (!top.contains(text)) top[text] = FiniteLogprob(token.logprob);
    }
    const std::string own = TokenText(position.token, format_.tokens_as_ids);
    if (!top.contains(own)) top[own] = FiniteLogprob(position.token.logprob);
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(choice.text_offset);
    choice.text_offset += CountCodePoints(SanitizeUtf8(position.token.bytes));
  }

  void Add(CompletionDelta delta, ChoiceState& choice) {
    if (format_.logprobs && choice.logprobs.is_null()) choice.logprobs = EmptyLogprobs();
    choice.text += delta.text;
    choice.token_ids.insert(choice.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    if (format_.logprobs) {
      for (const PositionLogprobs& position : delta.logprobs) AddLogprob(position, choice);
    }
    if (!delta.finish_reason) return;
    choice.finish_reason = FinishReasonJson(delta.finish_reason);
    if (delta.stop_token_id) {
      choice.stop_reason = *delta.stop_token_id;
    } else if (!delta.stop_string.empty()) {
      choice.stop_reason = delta.stop_string;
    }
  }

  Json ChoiceJson(size_t index, size_t prompt, const ChoiceState& choice) {
    Json json = {{"index", index},
                 {"text", choice.text},
                 {"logprobs", choice.logprobs},
                 {"finish_reason", choice.finish_reason},
                 {"stop_reason", choice.stop_reason}};
    if (format_.return_token_ids) {
      json["token_ids"] = choice.token_ids;
      json["prompt_token_ids"] = format_.prompt_token_ids[prompt];
    }
    if (format_.prompt_logprobs_asked && prompt_logprobs_.contains(prompt)) {
      json["prompt_logprobs"] = PromptLogprobsJson(prompt_logprobs_[prompt]);
    }
    return json;
  }

  const CompletionFormat format_;
  std::map<size_t, ChoiceState> choices_;  // By index; whole replies only.
  std::map<size_t, size_t> offsets_;       // Streams only.
  std::map<size_t, bool> started_;
  std::map<size_t, std::vector<std::optional<PositionLogprobs>>> prompt_logprobs_;  // By prompt.
};

}  // namespace

std::unique_ptr<ReplyFormatter> MakeCompletionFormatter(CompletionFormat format) {
  return std::make_unique<CompletionFormatter>(std::move(format));
}

}  // namespace octavo::server
