// SPDX-License-Identifier: Apache-2.0
// The sampling and scheduling fields that completions and chats share, vLLM's extensions included.
#pragma once

#include "octavo/engine.h"
#include "server/field_reader.h"

namespace octavo::server {

// What the server allows beyond what the engine checks itself.
struct RequestLimits {
  int32_t max_n = 128;             // Choices per prompt.
  size_t max_prompts = 2048;       // Prompts per completion request; choices in all likewise.
  size_t max_messages = 4096;
  size_t max_tools = 256;
  size_t max_schema_bytes = size_t{256} << 10;
  int64_t max_logprobs = 20;
};

// Reads the fields into `request` (params, priority, cache_salt). `request.params` holds the defaults
// on entry. Errors stick to the reader.
void ReadSamplingFields(FieldReader& reader, const RequestLimits& limits,
                        GenerationRequest& request);

// "response_format", "structured_outputs" and the older "guided_*" names.
void ReadStructuredOutput(FieldReader& reader, const RequestLimits& limits, StructuredOutput& out);

// "stream" and "stream_options".
struct StreamFields {
  bool stream = false;
  bool include_usage = false;           // A last chunk with usage and no choices.
  bool continuous_usage_stats = false;  // Usage in every chunk.
};
StreamFields ReadStreamFields(FieldReader& reader);

}  // namespace octavo::server
