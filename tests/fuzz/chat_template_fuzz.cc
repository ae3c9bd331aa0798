// SPDX-License-Identifier: Apache-2.0
// Fuzz target: a chat template, rendered on a conversation with tools.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace octavo;  // NOLINT: a fuzz target has no header to pollute.
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto made = ChatTemplate::Create(source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (!made.ok()) return 0;
  const Json call = {{"function", {{"name", "f"}, {"arguments", {{"x", 1.5}}}}}};
  const Json messages = {
      {{"role", "system"}, {"content", "Be kind.\n"}},
      {{"role", "user"}, {"content", " Grüße 😀 "}},
      {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({call})}}};
  ChatTemplateOptions options;
  options.tools = {{{"type", "function"}, {"function", {{"name", "f"}}}}};
  options.now = 0;
  (void)(*made)->Render(messages, options);
  return 0;
}
