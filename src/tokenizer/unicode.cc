// SPDX-License-Identifier: Apache-2.0
// Classes come from Oniguruma's tables, so that hand-written splitters equal its regexes (but for
// characters that are newer than the engine); the rest from utf8proc.
#include "tokenizer/unicode.h"

#include <oniguruma.h>
#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

constexpr char32_t kMaxCode = 0x10FFFF;

struct CodeRange {
  char32_t first;
  char32_t last;
};

// Letters and numbers of Unicode 15 and 16. Oniguruma 6.9.8 (Debian 12) stops at Unicode 14; the
// tokenizers library is built with a newer one.
constexpr CodeRange kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x1123F, 0x11240},
    {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5},
    {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x11F02, 0x11F02}, {0x11F04, 0x11F10}, {0x11F12, 0x11F33}, {0x1342F, 0x1342F},
    {0x13441, 0x13446}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C},
    {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A},
    {0x1E030, 0x1E06D}, {0x1E4D0, 0x1E4EB}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0},
    {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF}};
constexpr CodeRange kNewNumbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                     {0x11F50, 0x11F59}, {0x16130, 0x16139}, {0x16D70, 0x16D79},
                                     {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3}, {0x1E4F0, 0x1E4F9},
                                     {0x1E5F1, 0x1E5FA}};

template <size_t n>
void MarkCodes(const CodeRange (&ranges)[n], uint8_t bit, std::vector<uint8_t>* table) {
  for (const CodeRange& range : ranges) {
    for (char32_t code = range.first; code <= range.last; ++code) (*table)[code] |= bit;
  }
}

void MarkRanges(OnigCtype ctype, uint8_t bit, std::vector<uint8_t>* table) {
  OnigCodePoint single_byte_end = 0;
  const OnigCodePoint* ranges = nullptr;
  OnigEncoding encoding = ONIG_ENCODING_UTF8;
  OCTAVO_CHECK(encoding->get_ctype_code_range(ctype, &single_byte_end, &ranges) == 0);
  for (OnigCodePoint i = 0; i < ranges[0]; ++i) {
    const OnigCodePoint last = std::min<OnigCodePoint>(ranges[2 + 2 * i], kMaxCode);
    for (OnigCodePoint code = ranges[1 + 2 * i]; code <= last; ++code) (*table)[code] |= bit;
  }
}

OnigCtype PropertyType(std::string_view name) {
  OnigEncoding encoding = ONIG_ENCODING_UTF8;
  const auto* begin = reinterpret_cast<const OnigUChar*>(name.data());
  // Oniguruma's declaration takes non-const pointers; it does not write through them.
  auto* first = const_cast<OnigUChar*>(begin);
  const int ctype = encoding->property_name_to_ctype(encoding, first, first + name.size());
  OCTAVO_CHECK(ctype >= 0);
  return static_cast<OnigCtype>(ctype);
}

std::vector<uint8_t> BuildClassTable() {
  InitializeRegexEngine();
  std::vector<uint8_t> table(kMaxCode + 1);
  MarkRanges(PropertyType("L"), kClassLetter, &table);
  MarkRanges(PropertyType("N"), kClassNumber, &table);
  MarkRanges(ONIGENC_CTYPE_SPACE, kClassSpace, &table);
  MarkCodes(kNewLetters, kClassLetter, &table);
  MarkCodes(kNewNumbers, kClassNumber, &table);
  return table;
}

utf8proc_category_t CategoryOf(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

// Sorts each run of combining marks by class; std::stable_sort keeps this out of the quadratic
// time that an insertion sort takes on hostile text.
void OrderMarks(std::vector<utf8proc_int32_t>* codes) {
  const auto combining_class = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  auto it = codes->begin();
  while (it != codes->end()) {
    if (*it < 0x300 || combining_class(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(
        it, codes->end(), [&](utf8proc_int32_t code) { return combining_class(code) == 0; });
    std::stable_sort(it, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    it = end;
  }
}

// True when no character is at or above the first one that a canonical form changes.
bool IsTriviallyNormal(std::string_view text, NormalizationForm form) {
  // NFC: everything below U+0300 is stable, i.e. lead bytes below 0xCC. Others: ASCII only.
  const uint8_t limit = form == NormalizationForm::kNfc ? 0xCC : 0x80;
  return std::all_of(text.begin(), text.end(),
                     [limit](char c) { return static_cast<uint8_t>(c) < limit; });
}

}  // namespace

const uint8_t* CharClassTable() {
  static const std::vector<uint8_t> table = BuildClassTable();
  return table.data();
}

bool IsUnicodeSpace(char32_t code) {
  return code <= kMaxCode && (CharClassTable()[code] & kClassSpace) != 0;
}

bool IsUnicodeNumeric(char32_t code) {
  return code <= kMaxCode && (CharClassTable()[code] & kClassNumber) != 0;
}

bool IsUnicodePunctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
           (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
  }
  const auto category = CategoryOf(code);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsUnicodeWord(char32_t code) {
  if (code <= kMaxCode && (CharClassTable()[code] & kClassLetter) != 0) return true;
  if (code == 0x200C || code == 0x200D) return true;  // Join_Control
  if (code >= 0x24B6 && code <= 0x24E9) return true;  // circled letters are Alphabetic
  switch (CategoryOf(code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool IsNonspacingMark(char32_t code) { return CategoryOf(code) == UTF8PROC_CATEGORY_MN; }

bool IsOtherCategory(char32_t code) {
  const auto category = CategoryOf(code);
  return category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_CC;
}

std::string Normalize(std::string_view text, NormalizationForm form) {
  if (IsTriviallyNormal(text, form)) return std::string(text);
  const bool compatibility = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  const bool compose = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  int options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  if (compatibility) options |= UTF8PROC_COMPAT;
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    i += c.length;
    utf8proc_int32_t buffer[32];  // the longest decomposition has 18 characters
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), buffer, 32,
                                               static_cast<utf8proc_option_t>(options), &boundary);
    OCTAVO_CHECK(count >= 0 && count <= 32);
    codes.insert(codes.end(), buffer, buffer + count);
  }
  OrderMarks(&codes);
  auto length = static_cast<utf8proc_ssize_t>(codes.size());
  if (compose) {
    length = utf8proc_normalize_utf32(
        codes.data(), length, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  }
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    AppendUtf8(static_cast<char32_t>(codes[static_cast<size_t>(i)]), &out);
  }
  return out;
}

std::string LowerCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    i += c.length;
    if (c.code < 0x80) {
      const bool upper = c.code >= 'A' && c.code <= 'Z';
      out.push_back(static_cast<char>(upper ? c.code + 32 : c.code));
    } else if (c.code == 0x130) {  // the only character whose full mapping has two
      out += "i\xCC\x87";
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code))),
                 &out);
    }
  }
  return out;
}

std::string_view StripSpace(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Char c = DecodeUtf8(text, 0);
    if (!IsUnicodeSpace(c.code)) break;
    text.remove_prefix(c.length);
  }
  while (right && !text.empty()) {
    const Utf8Char c = DecodeUtf8Before(text, text.size());
    if (!IsUnicodeSpace(c.code)) break;
    text.remove_suffix(c.length);
  }
  return text;
}

}  // namespace octavo
