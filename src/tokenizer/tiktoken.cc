// SPDX-License-Identifier: Apache-2.0
// Reads tiktoken's text format into a byte-level BPE.
#include "tokenizer/tiktoken.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/file.h"
#include "tokenizer/byte_map.h"
#include "tokenizer/fast_split.h"
#include "tokenizer/precompiled_charsmap.h"
#include "tokenizer/utf8.h"

namespace octavo {
namespace {

// Deriving merges tries each split of each token; real tokens are far shorter.
constexpr size_t kMaxTokenBytes = 512;

struct Line {
  std::string_view base64;
  int32_t rank;
};

std::optional<Line> ParseLine(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return std::nullopt;
  int32_t rank = 0;
  const char* end = line.data() + line.size();
  const auto parsed = std::from_chars(line.data() + space + 1, end, rank);
  if (parsed.ec != std::errc() || parsed.ptr != end || rank < 0) return std::nullopt;
  return Line{line.substr(0, space), rank};
}

using Ranks = std::unordered_map<std::string_view, int32_t>;

// The parts that tiktoken would have merged last into `token`: its bytes, merged with lower ranks
// only, until two are left. Nothing when they do not come down to two.
std::optional<std::pair<std::string_view, std::string_view>> LastMerge(std::string_view token,
                                                                       int32_t rank,
                                                                       const Ranks& ranks) {
  std::vector<size_t> cuts(token.size() + 1);  // part i is [cuts[i], cuts[i + 1])
  for (size_t i = 0; i < cuts.size(); ++i) cuts[i] = i;
  while (cuts.size() > 3) {
    int32_t best_rank = rank;
    size_t best = 0;
    for (size_t i = 0; i + 2 < cuts.size(); ++i) {
      const auto found = ranks.find(token.substr(cuts[i], cuts[i + 2] - cuts[i]));
      if (found != ranks.end() && found->second < best_rank) {
        best_rank = found->second;
        best = i + 1;
      }
    }
    if (best == 0) return std::nullopt;
    cuts.erase(cuts.begin() + static_cast<std::ptrdiff_t>(best));
  }
  if (cuts.size() != 3) return std::nullopt;
  return std::pair(token.substr(0, cuts[1]), token.substr(cuts[1]));
}

Json SpecialTokensOf(const Json& tokenizer_config, std::vector<VocabEntry>* vocab) {
  Json list = Json::array();
  const Json* decoder = Find(tokenizer_config, "added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return list;
  for (const auto& [key, token] : decoder->items()) {
    int32_t id = 0;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    const Json* content = Find(token, "content");
    if (parsed.ec != std::errc() || content == nullptr || !content->is_string()) continue;
    vocab->push_back({content->get<std::string>(), id, 0});
    const Json* special = Find(token, "special");
    list.push_back({{"content", *content},
                    {"special", special == nullptr || *special == true},
                    {"normalized", false}});
  }
  return list;
}

}  // namespace

bool LooksLikeTiktoken(std::string_view bytes) {
  const auto line = ParseLine(bytes.substr(0, std::min(bytes.find('\n'), size_t{1024})));
  return line && DecodeBase64(line->base64).ok();
}

Result<TokenizerSpec> ParseTiktoken(std::string_view text, const Json& tokenizer_config) {
  std::map<int32_t, std::string> tokens;  // by rank; the merges come in this order
  int line_number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (raw.empty()) continue;
    const auto line = ParseLine(raw);
    if (!line) return DataLoss(fmt::format("line {}: want 'base64 rank'", line_number));
    OCTAVO_ASSIGN_OR_RETURN(std::string token, DecodeBase64(line->base64));
    if (token.empty() || token.size() > kMaxTokenBytes) {
      return DataLoss(fmt::format("line {}: token of {} bytes, want 1 to {}", line_number,
                                  token.size(), kMaxTokenBytes));
    }
    if (!tokens.emplace(line->rank, std::move(token)).second) {
      return DataLoss(fmt::format("line {}: rank {} is repeated", line_number, line->rank));
    }
  }
  Ranks ranks;
  for (const auto& [rank, token] : tokens) ranks[token] = rank;
  TokenizerSpec spec;
  for (const auto& [rank, token] : tokens) {
    spec.vocab.push_back({MapBytes(token), rank, 0});
    if (token.size() < 2) continue;
    if (const auto parts = LastMerge(token, rank, ranks)) {
      spec.merges.emplace_back(MapBytes(parts->first), MapBytes(parts->second));
    }
  }
  constexpr size_t kQwenTokens = 151'643;
  const auto known = tokens.size() == kQwenTokens ? KnownPattern::kQwen2 : KnownPattern::kLlama3;
  OCTAVO_ASSIGN_OR_RETURN(const std::string regex,
                          GetStringOr(tokenizer_config, "pat_str", std::string(RegexOf(known))));
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", regex}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  spec.config = {
      {"version", "1.0"},
      {"added_tokens", SpecialTokensOf(tokenizer_config, &spec.vocab)},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}}},
      {"decoder", bytes},
      {"model", {{"type", "BPE"}, {"ignore_merges", true}}}};
  return spec;
}

Result<std::unique_ptr<Tokenizer>> TiktokenFromFile(const std::string& path,
                                                    const Json& tokenizer_config) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  auto spec = ParseTiktoken(text, tokenizer_config);
  if (!spec.ok()) return std::move(spec).status().WithContext(path);
  auto tokenizer = Tokenizer::FromSpec(std::move(spec).value());
  if (!tokenizer.ok()) return std::move(tokenizer).status().WithContext(path);
  return tokenizer;
}

}  // namespace octavo
