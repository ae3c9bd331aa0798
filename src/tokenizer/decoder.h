// SPDX-License-Identifier: Apache-2.0
// The "decoder" part of tokenizer.json: token strings back to text, token by token.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "octavo/status.h"

namespace octavo {

// A decoder is a chain of steps. A stream is a sequence of tokens, each of which arrives in one or
// more fragments; a step keeps back only what later fragments may still change, so that the same
// code serves whole decoding and streaming.
struct Fragment {
  std::string text;
  bool begins_token;
};

// The state of one step of one stream.
class DecoderStream {
 public:
  virtual ~DecoderStream() = default;
  virtual void Push(Fragment fragment, std::vector<Fragment>* out) = 0;
  // The end of the stream: emits what was kept back.
  virtual void Flush(std::vector<Fragment>* out) = 0;
};

// One step of the chain: makes a fresh stream state.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  virtual std::unique_ptr<DecoderStream> Start() const = 0;
};

// A running chain.
class DecoderSession {
 public:
  explicit DecoderSession(std::vector<std::unique_ptr<DecoderStream>> streams)
      : streams_(std::move(streams)) {}
  // Appends the text that is now certain. What has been appended is always whole characters.
  void Push(std::string_view token, std::string* out);
  void Flush(std::string* out);

 private:
  std::vector<std::unique_ptr<DecoderStream>> streams_;
};

// The whole component; immutable and thread-safe.
class Decoder {
 public:
  // null: tokens are joined with one space. An unsupported type is refused by name.
  static Result<std::unique_ptr<Decoder>> Create(const Json* config);

  DecoderSession Start() const;

 private:
  Decoder() = default;
  std::vector<std::unique_ptr<DecoderStep>> steps_;
};

}  // namespace octavo
