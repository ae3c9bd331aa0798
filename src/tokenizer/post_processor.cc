// SPDX-License-Identifier: Apache-2.0
// Reduces every post-processor to the ids before and after a single text.
#include "tokenizer/post_processor.h"

#include <fmt/format.h>

#include <limits>

namespace octavo {
namespace {

constexpr int kMaxSequenceDepth = 16;
constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();

// ["</s>", 2]
Result<int32_t> ParseTokenPair(const Json& config, std::string_view key) {
  const Json* pair = Find(config, key);
  if (pair == nullptr || !pair->is_array() || pair->size() != 2 ||
      !(*pair)[1].is_number_unsigned() || (*pair)[1].get<uint64_t>() > kMaxId) {
    return DataLoss(fmt::format("post_processor: '{}' is no [token, id]", key));
  }
  return static_cast<int32_t>((*pair)[1].get<uint64_t>());
}

}  // namespace

Result<PostProcessor> PostProcessor::Create(const Json* config) {
  PostProcessor result;
  if (config != nullptr) OCTAVO_RETURN_IF_ERROR(result.Add(*config, 0));
  return result;
}

PostProcessor PostProcessor::Around(std::vector<int32_t> prefix, std::vector<int32_t> suffix) {
  PostProcessor result;
  result.prefix_ = std::move(prefix);
  result.suffix_ = std::move(suffix);
  return result;
}

Status PostProcessor::Add(const Json& config, int depth) {
  OCTAVO_ASSIGN_OR_RETURN(const std::string type, GetString(config, "type"));
  if (type == "ByteLevel") return Status::Ok();
  if (type == "Sequence") {
    const Json* list = Find(config, "processors");
    if (list == nullptr || !list->is_array()) {
      return DataLoss("post_processor Sequence: 'processors' is no list");
    }
    if (depth >= kMaxSequenceDepth) return DataLoss("post_processor: nested too deep");
    for (const Json& step : *list) OCTAVO_RETURN_IF_ERROR(Add(step, depth + 1));
    return Status::Ok();
  }
  if (!name_.empty()) {
    return Unimplemented(fmt::format("post_processor: '{}' after '{}' is not supported",
                                     type.substr(0, 100), name_));
  }
  name_ = type;
  if (type == "TemplateProcessing") return AddTemplate(config);
  if (type == "BertProcessing" || type == "RobertaProcessing") return AddFixed(config);
  return Unimplemented(fmt::format("post_processor '{}' is not supported", type.substr(0, 100)));
}

Status PostProcessor::AddFixed(const Json& config) {
  OCTAVO_ASSIGN_OR_RETURN(const int32_t cls, ParseTokenPair(config, "cls"));
  OCTAVO_ASSIGN_OR_RETURN(const int32_t sep, ParseTokenPair(config, "sep"));
  prefix_ = {cls};
  suffix_ = {sep};
  return Status::Ok();
}

Status PostProcessor::AddTemplate(const Json& config) {
  const Json* single = Find(config, "single");
  const Json* tokens = Find(config, "special_tokens");
  if (single == nullptr || !single->is_array()) {
    return DataLoss("TemplateProcessing: 'single' is no list");
  }
  bool seen_text = false;
  for (const Json& item : *single) {
    if (const Json* sequence = Find(item, "Sequence")) {
      OCTAVO_ASSIGN_OR_RETURN(const std::string id, GetString(*sequence, "id"));
      if (id != "A" || seen_text) {
        return Unimplemented("TemplateProcessing: 'single' wants the text 'A' exactly once");
      }
      seen_text = true;
      continue;
    }
    const Json* special = Find(item, "SpecialToken");
    if (special == nullptr) return DataLoss("TemplateProcessing: unknown item in 'single'");
    OCTAVO_ASSIGN_OR_RETURN(const std::string name, GetString(*special, "id"));
    const Json* token = tokens != nullptr ? Find(*tokens, name) : nullptr;
    const Json* ids = token != nullptr ? Find(*token, "ids") : nullptr;
    if (ids == nullptr || !ids->is_array()) {
      return DataLoss(
          fmt::format("TemplateProcessing: special token '{}' has no ids", name.substr(0, 100)));
    }
    for (const Json& id : *ids) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > kMaxId) {
        return DataLoss("TemplateProcessing: an id is no token id");
      }
      (seen_text ? suffix_ : prefix_).push_back(static_cast<int32_t>(id.get<uint64_t>()));
    }
  }
  if (!seen_text) return Unimplemented("TemplateProcessing: 'single' leaves the text out");
  return Status::Ok();
}

}  // namespace octavo
