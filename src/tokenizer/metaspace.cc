// SPDX-License-Identifier: Apache-2.0
// Reads Metaspace settings of both generations.
#include "tokenizer/metaspace.h"

#include <fmt/format.h>

#include "tokenizer/utf8.h"

namespace octavo {

Result<MetaspaceConfig> ParseMetaspace(const Json& config) {
  MetaspaceConfig result;
  using Prepend = MetaspaceConfig::Prepend;
  OCTAVO_ASSIGN_OR_RETURN(result.replacement,
                          GetStringOr(config, "replacement", result.replacement));
  if (CountUtf8(result.replacement) != 1) {
    return DataLoss(fmt::format("Metaspace: replacement '{}', want one character",
                                result.replacement.substr(0, 100)));
  }
  OCTAVO_ASSIGN_OR_RETURN(result.split, GetBoolOr(config, "split", true));
  OCTAVO_ASSIGN_OR_RETURN(const bool prefix, GetBoolOr(config, "add_prefix_space", true));
  OCTAVO_ASSIGN_OR_RETURN(const std::string scheme,
                          GetStringOr(config, "prepend_scheme", prefix ? "always" : "never"));
  if (scheme == "always") {
    result.prepend = Prepend::kAlways;
  } else if (scheme == "first") {
    result.prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    result.prepend = Prepend::kNever;
  } else {
    return Unimplemented(
        fmt::format("Metaspace: prepend_scheme '{}' is not supported", scheme.substr(0, 100)));
  }
  return result;
}

}  // namespace octavo
