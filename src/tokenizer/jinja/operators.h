// SPDX-License-Identifier: Apache-2.0
// Python's operators on template values.
#pragma once

#include <string_view>
#include <vector>

#include "octavo/status.h"
#include "tokenizer/jinja/budget.h"
#include "tokenizer/jinja/value.h"

namespace octavo::jinja {

// + - * / // % **
Result<Value> BinaryOperation(std::string_view op, const Value& a, const Value& b, Budget* budget);

// == != < <= > >= in "not in"
Result<bool> Comparison(std::string_view op, const Value& a, const Value& b, Budget* budget);

// object.name: a method, else an item. Undefined when there is neither; an error on undefined.
Result<Value> GetAttribute(const Value& object, std::string_view name);

// object[key]: an item, else (for a string key) a method. Undefined when there is neither.
Result<Value> GetItem(const Value& object, const Value& key);

// object[start:stop:step]; none or undefined bounds are absent.
Result<Value> Slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                    Budget* budget);

// The items of a list, the keys of a dict, the characters of a string; nothing for undefined.
Result<std::vector<Value>> Iterate(const Value& value, Budget* budget);

// The characters of a string, as strings.
std::vector<std::string_view> Characters(std::string_view text);

// Fails when searching `needle` in `text` could take far too long; spends what it may cost.
Status SpendSearch(std::string_view text, std::string_view needle, Budget* budget);

// True when `name` is a method of the value's type.
bool HasMethod(const Value& value, std::string_view name);

}  // namespace octavo::jinja
