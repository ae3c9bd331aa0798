// SPDX-License-Identifier: Apache-2.0
// A bounded reader of darts-clone tries and base64.
#include "tokenizer/precompiled_charsmap.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <vector>

#include "tokenizer/utf8.h"

namespace octavo {
namespace {

static_assert(std::endian::native == std::endian::little, "the trie is stored little endian");

// Graphemes of this many bytes or more are mapped by character only.
constexpr size_t kMaxGraphemeBytes = 6;

class CharsMap : public Normalizer {
 public:
  CharsMap(std::vector<uint32_t> units, std::string replacements)
      : units_(std::move(units)), replacements_(std::move(replacements)) {}

  Status Apply(std::string* text) const override {
    std::string out;
    out.reserve(text->size());
    const std::string_view view = *text;
    for (size_t begin = 0; begin < view.size();) {
      const size_t end = GraphemeEnd(view, begin);
      AppendMapped(view.substr(begin, end - begin), &out);
      begin = end;
    }
    *text = std::move(out);
    return Status::Ok();
  }

 private:
  static size_t GraphemeEnd(std::string_view text, size_t begin) {
    Utf8Char previous = DecodeUtf8(text, begin);
    size_t end = begin + previous.length;
    utf8proc_int32_t state = 0;
    while (end < text.size()) {
      const Utf8Char next = DecodeUtf8(text, end);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous.code),
                                           static_cast<utf8proc_int32_t>(next.code), &state)) {
        break;
      }
      end += next.length;
      previous = next;
    }
    return end;
  }

  void AppendMapped(std::string_view grapheme, std::string* out) const {
    if (grapheme.size() < kMaxGraphemeBytes) {
      if (const auto mapped = Find(grapheme)) {
        out->append(*mapped);
        return;
      }
    }
    for (size_t i = 0; i < grapheme.size();) {
      const std::string_view c = grapheme.substr(i, DecodeUtf8(grapheme, i).length);
      out->append(Find(c).value_or(c));
      i += c.size();
    }
  }

  // The replacement of the shortest mapped prefix of `key`, as the tokenizers library does.
  std::optional<std::string_view> Find(std::string_view key) const {
    if (units_.empty()) return std::nullopt;
    uint32_t node = Offset(units_[0]);
    for (const char c : key) {
      const auto byte = static_cast<uint8_t>(c);
      node ^= byte;
      if (byte == 0 || node >= units_.size()) return std::nullopt;
      const uint32_t unit = units_[node];
      if ((unit & 0x800000FFu) != byte) return std::nullopt;
      node ^= Offset(unit);
      if (node >= units_.size()) return std::nullopt;
      if (((unit >> 8) & 1) != 0) return Replacement(units_[node] & 0x7FFFFFFFu);
    }
    return std::nullopt;
  }

  static uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

  std::optional<std::string_view> Replacement(uint32_t offset) const {
    if (offset >= replacements_.size()) return std::nullopt;
    const std::string_view rest = std::string_view(replacements_).substr(offset);
    return rest.substr(0, rest.find('\0'));
  }

  std::vector<uint32_t> units_;
  std::string replacements_;
};

constexpr std::string_view kBase64Alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

Result<std::string> DecodeBase64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::array<int8_t, 256> values;
  values.fill(-1);
  for (size_t i = 0; i < kBase64Alphabet.size(); ++i) {
    values[static_cast<uint8_t>(kBase64Alphabet[i])] = static_cast<int8_t>(i);
  }
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    const int8_t value = values[static_cast<uint8_t>(c)];
    if (value < 0) return DataLoss("invalid base64");
    bits = (bits << 6) | static_cast<uint32_t>(value);
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      out.push_back(static_cast<char>((bits >> num_bits) & 0xFF));
    }
  }
  if (num_bits >= 6) return DataLoss("invalid base64 length");
  return out;
}

std::string EncodeBase64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) {
      bits = (bits << 8) | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out.push_back(k <= count ? kBase64Alphabet[(bits >> (18 - 6 * k)) & 63] : '=');
    }
  }
  return out;
}

Result<std::unique_ptr<Normalizer>> MakePrecompiledNormalizerFromBytes(std::string_view map) {
  if (map.empty()) {
    return std::unique_ptr<Normalizer>(
        std::make_unique<CharsMap>(std::vector<uint32_t>(), std::string()));
  }
  uint32_t trie_bytes = 0;
  if (map.size() < sizeof(trie_bytes)) return DataLoss("precompiled_charsmap: truncated");
  std::memcpy(&trie_bytes, map.data(), sizeof(trie_bytes));
  map.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes % 4 != 0 || trie_bytes > map.size()) {
    return DataLoss(fmt::format("precompiled_charsmap: trie of {} bytes in a map of {}", trie_bytes,
                                map.size()));
  }
  std::vector<uint32_t> units(trie_bytes / 4);
  if (trie_bytes > 0) std::memcpy(units.data(), map.data(), trie_bytes);
  map.remove_prefix(trie_bytes);
  if (!IsValidUtf8(map)) return DataLoss("precompiled_charsmap: replacements are not UTF-8");
  return std::unique_ptr<Normalizer>(
      std::make_unique<CharsMap>(std::move(units), std::string(map)));
}

Result<std::unique_ptr<Normalizer>> MakePrecompiledNormalizer(std::string_view base64) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string map, DecodeBase64(base64));
  return MakePrecompiledNormalizerFromBytes(map);
}

}  // namespace octavo
