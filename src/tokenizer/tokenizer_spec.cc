// SPDX-License-Identifier: Apache-2.0
// Streams tokenizer.json: "vocab" and "merges" of the model go straight into vectors, because a
// JSON tree of 150,000 tokens costs more than the tokenizer itself.
#include "tokenizer/tokenizer_spec.h"

#include <fmt/format.h>

#include <limits>

namespace octavo {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxBytes = size_t{512} << 20;

class SpecBuilder {
 public:
  explicit SpecBuilder(TokenizerSpec* spec) : spec_(spec), dom_(spec->config, false) {}

  // nlohmann's SAX interface.
  bool null() { return table_ == Table::kNone ? dom_.null() : BadTable("null"); }
  bool boolean(bool value) {
    return table_ == Table::kNone ? dom_.boolean(value) : BadTable("a boolean");
  }
  bool number_integer(int64_t value) {
    return table_ == Table::kNone ? dom_.number_integer(value) : Integer(value);
  }
  bool number_unsigned(uint64_t value) {
    if (table_ == Table::kNone) return dom_.number_unsigned(value);
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    return Integer(static_cast<int64_t>(std::min(value, kMax)));
  }
  bool number_float(double value, const std::string& text) {
    if (table_ == Table::kNone) return dom_.number_float(value, text);
    return table_ == Table::kVocabList && Score(value);
  }
  bool string(std::string& value) {
    if (table_ == Table::kNone) return dom_.string(value);
    return TableString(value);
  }
  bool binary(Json::binary_t& /*value*/) { return false; }
  bool start_object(size_t count) {
    if (!Enter()) return false;
    if (table_ != Table::kNone) return BadTable("an object");
    if (AtTable("vocab")) {
      table_ = Table::kVocabMap;
      table_depth_ = depth_;
      return true;
    }
    return dom_.start_object(count);
  }
  bool end_object() { return Leave() ? true : dom_.end_object(); }
  bool start_array(size_t count) {
    if (!Enter()) return false;
    if (table_ != Table::kNone) return StartRow();
    if (AtTable("vocab") || AtTable("merges")) {
      table_ = keys_[1] == "vocab" ? Table::kVocabList : Table::kMerges;
      table_depth_ = depth_;
      return true;
    }
    return dom_.start_array(count);
  }
  bool end_array() {
    if (table_ != Table::kNone && depth_ == table_depth_ + 1 && !EndRow()) return false;
    return Leave() ? true : dom_.end_array();
  }
  bool key(std::string& name) {
    if (table_ == Table::kVocabMap) {
      spec_->vocab.push_back({std::move(name), -1, 0});
      return true;
    }
    if (depth_ <= 2) keys_[static_cast<size_t>(depth_ - 1)] = name;
    return dom_.key(name);
  }
  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& exception) {
    error_ = fmt::format("invalid JSON at byte {}: {}", position, exception.what());
    return false;
  }
  const std::string& error() const { return error_; }

 private:
  enum class Table { kNone, kVocabMap, kVocabList, kMerges };

  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }
  bool BadTable(std::string_view what) {
    return Fail(fmt::format("model.{} holds {} at entry {}", keys_[1], what,
                            table_ == Table::kMerges ? spec_->merges.size() : spec_->vocab.size()));
  }
  bool Enter() {
    if (++depth_ <= kMaxDepth) return true;
    return Fail(fmt::format("JSON nested deeper than {} levels", kMaxDepth));
  }
  // True while inside a table (or just leaving it): the tree does not see the event.
  bool Leave() {
    const bool in_table = table_ != Table::kNone;
    if (in_table && depth_ == table_depth_) table_ = Table::kNone;
    --depth_;
    return in_table;
  }
  // A container that begins as the value of model.<name>.
  bool AtTable(std::string_view name) const {
    return depth_ == 3 && keys_[0] == "model" && keys_[1] == name;
  }
  bool StartRow() {
    if (table_ == Table::kVocabMap || depth_ != table_depth_ + 1) return BadTable("an array");
    row_size_ = 0;
    if (table_ == Table::kVocabList) {
      spec_->vocab.push_back({{}, static_cast<int32_t>(spec_->vocab.size()), 0});
    } else {
      spec_->merges.emplace_back();
    }
    return true;
  }
  bool EndRow() { return row_size_ == 2 || BadTable(fmt::format("a row of {}", row_size_)); }
  bool Integer(int64_t value) {
    if (table_ == Table::kVocabList) return Score(static_cast<double>(value));
    if (table_ != Table::kVocabMap || spec_->vocab.empty()) return BadTable("a number");
    if (value < 0 || value > std::numeric_limits<int32_t>::max())
      return BadTable("an id out of range");
    spec_->vocab.back().id = static_cast<int32_t>(value);
    return true;
  }
  bool Score(double value) {
    if (depth_ != table_depth_ + 1 || ++row_size_ != 2) return BadTable("a misplaced score");
    spec_->vocab.back().score = value;
    return true;
  }
  bool TableString(std::string& value) {
    const bool in_row = depth_ == table_depth_ + 1;
    if (table_ == Table::kVocabList && in_row && ++row_size_ == 1) {
      spec_->vocab.back().token = std::move(value);
      return true;
    }
    if (table_ == Table::kMerges && in_row && row_size_ < 2) {
      auto& pair = spec_->merges.back();
      (++row_size_ == 1 ? pair.first : pair.second) = std::move(value);
      return true;
    }
    if (table_ == Table::kMerges && !in_row) return MergeLine(value);
    return BadTable("a string");
  }
  // The older form: "a b" with one space.
  bool MergeLine(const std::string& line) {
    if (line.starts_with("#version")) return true;
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      return BadTable(fmt::format("'{}'", line.substr(0, 100)));
    }
    spec_->merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    return true;
  }

  TokenizerSpec* spec_;
  nlohmann::detail::json_sax_dom_parser<Json> dom_;
  std::string keys_[2];
  int depth_ = 0;
  Table table_ = Table::kNone;
  int table_depth_ = 0;
  int row_size_ = 0;
  std::string error_;
};

}  // namespace

Result<TokenizerSpec> ParseTokenizerJson(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return ResourceExhausted(fmt::format("{} bytes, limit {}", text.size(), kMaxBytes));
  }
  TokenizerSpec spec;
  SpecBuilder builder(&spec);
  if (!Json::sax_parse(text, &builder)) {
    return DataLoss(builder.error().empty() ? "malformed model tables" : builder.error());
  }
  if (!spec.config.is_object()) return DataLoss("want a JSON object");
  return spec;
}

}  // namespace octavo
