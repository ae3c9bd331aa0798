// SPDX-License-Identifier: Apache-2.0
// JSON schemas as grammar expressions.
#pragma once

#include "base/json.h"
#include "engine/structured/grammar.h"

namespace octavo {

struct JsonGrammarOptions {
  // One optional space after ':' and ','; else any run of blanks where JSON allows them.
  bool compact_whitespace = true;
};

// A rule for the JSON texts that `schema` describes. Object members come in the order of
// "properties". Understood: type, enum, const, properties, required, additionalProperties, items,
// prefixItems, minItems, maxItems, minLength, maxLength, pattern, format (date, time, date-time,
// uuid), minimum, maximum and their exclusive forms on integers, anyOf, oneOf (as anyOf), allOf of
// one, $ref into the document, $defs, definitions. Annotations are ignored. Any other keyword is an
// InvalidArgument that names it: nothing is silently left out.
Result<int32_t> AddJsonSchema(const Json& schema, const JsonGrammarOptions& options,
                              GrammarBuilder& builder);

}  // namespace octavo
