// SPDX-License-Identifier: Apache-2.0
// Filters, tests and methods of the template language. A name that is not supported is an error
// that says so.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/jinja/budget.h"
#include "tokenizer/jinja/value.h"

namespace octavo::jinja {

// input | name(arguments)
Result<Value> ApplyFilter(const std::string& name, const Value& input, const Arguments& arguments,
                          Budget* budget);

// value is name(arguments)
Result<bool> ApplyTest(const std::string& name, const Value& value, const Arguments& arguments,
                       Budget* budget);

// self.name(arguments), for the methods that HasMethod lists. Those that would change `self` are
// refused, as in Jinja2's immutable sandbox.
Result<Value> CallMethod(const Value& self, const std::string& name, const Arguments& arguments,
                         Budget* budget);

// value.a.b.0: the path syntax of filters' `attribute` argument.
Result<Value> GetPath(const Value& value, const Value& path);

// text.replace(from, to[, count]); count < 0: all.
Result<std::string> ReplaceText(const std::string& text, const std::string& from,
                                const std::string& to, int64_t count, Budget* budget);

// Text without the characters of `set` (white space when null) at the chosen ends.
std::string StripText(const std::string& text, const std::string* set, bool left, bool right);

// Case mappings, by character.
std::string UpperText(std::string_view text);
std::string TitleText(std::string_view text);
std::string CapitalizeText(std::string_view text);

}  // namespace octavo::jinja
