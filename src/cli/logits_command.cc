// SPDX-License-Identifier: Apache-2.0
// `octavo logits`: writes the logits of every position of a prompt, for comparison with other
// programs.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <vector>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/report.h"
#include "cli/token_ids.h"
#include "io/safetensors_writer.h"

namespace octavo {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string prompt_ids;
  std::string output;
};

Status RunLogits(const LogitsOptions& options) {
  auto parsed = ParseTokenIds(options.prompt_ids);
  if (!parsed.ok()) return UsageError("--prompt-ids: " + parsed.status().message());
  if (parsed->empty()) return UsageError("--prompt-ids: want at least one token id");
  const std::vector<int32_t>& tokens = *parsed;
  const auto count = static_cast<int64_t>(tokens.size());
  OCTAVO_ASSIGN_OR_RETURN(ScoringModel model, LoadForScoring(options.model, count));

  const int64_t vocab_size = model.forcing->model().config().vocab_size;
  const std::vector<TensorSpec> specs = {{"logits", DType::kF32, Shape{count, vocab_size}}};
  OCTAVO_ASSIGN_OR_RETURN(const auto writer, SafetensorsWriter::Create(options.output, specs, {}));
  const uint64_t row_bytes = static_cast<uint64_t>(vocab_size) * sizeof(float);
  OCTAVO_RETURN_IF_ERROR(
      model.forcing->Run(tokens, [&](int64_t first, int64_t rows, const float* logits) {
        const std::span<const float> values(logits, static_cast<size_t>(rows * vocab_size));
        return writer->WriteAt("logits", static_cast<uint64_t>(first) * row_bytes,
                               std::as_bytes(values));
      }));
  OCTAVO_RETURN_IF_ERROR(writer->MarkComplete("logits"));
  return writer->Finish();
}

CommandAction Configure(CLI::App& app) {
  auto options = std::make_shared<LogitsOptions>();
  AddModelOptions(app, options->model);
  app.add_option("--prompt-ids", options->prompt_ids, "Token ids: 1,2,3")
      ->required()
      ->type_name("IDS");
  app.add_option("-o,--output", options->output,
                 "safetensors file with `logits`, f32 [tokens, vocab_size]")
      ->required()
      ->type_name("FILE");
  return [options] { return RunLogits(*options); };
}

}  // namespace

extern const Command kCommand_logits_command = {
    "logits", CommandGroup::kDevelop, "Write the logits of every position of a prompt", &Configure};

}  // namespace octavo
