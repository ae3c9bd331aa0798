// SPDX-License-Identifier: Apache-2.0
// Reads recipes in YAML (or JSON, which is YAML): llm-compressor's stages and modifiers.
//
//   quant_stage:
//     quant_modifiers:
//       SmoothQuantModifier: {smoothing_strength: 0.8}
//       GPTQModifier:
//         ignore: [lm_head, 're:.*down_proj']
//         scheme: W4A16
//       QuantizationModifier:
//         config_groups:
//           group_0: {targets: ['re:.*down_proj'], scheme: W8A8}
//
// docs/quantization.md lists the keys. A key that is not known, and one whose meaning here would be
// another, is an error that names it and its line.
#pragma once

#include <string>
#include <string_view>

#include "octavo/status.h"
#include "quantizers/quantize_recipe.h"

namespace octavo {

// `name` stands for the file in messages ("recipe.yaml:7: ...").
// Errors: InvalidArgument; ResourceExhausted beyond ParseYaml's limits.
Result<QuantizeRecipe> ParseRecipe(std::string_view text, const std::string& name);

// Errors also: those of reading the file.
Result<QuantizeRecipe> LoadRecipe(const std::string& path);

}  // namespace octavo
