// SPDX-License-Identifier: Apache-2.0
// Patterns and defaults.
#include "hub/file_selection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace octavo::hub {
namespace {

constexpr size_t kMaxListed = 10;  // file names in an error

template <size_t kCount>
bool EndsWithAny(std::string_view path, const std::array<std::string_view, kCount>& endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return path.ends_with(ending); });
}

bool IsPickle(std::string_view path) {
  constexpr std::array<std::string_view, 6> kEndings = {".bin",  ".pt",  ".pth",
                                                        ".ckpt", ".pkl", ".pickle"};
  return EndsWithAny(path, kEndings);
}

bool IsWeights(std::string_view path) {
  constexpr std::array<std::string_view, 2> kEndings = {".safetensors", ".gguf"};
  return EndsWithAny(path, kEndings);
}

// Weights that publishers add in their own naming beside the same weights in transformers'.
bool IsConsolidated(std::string_view path) {
  return path.starts_with("consolidated") && path.ends_with(".safetensors");
}

bool IsNeeded(std::string_view path) {
  constexpr std::array<std::string_view, 5> kEndings = {".safetensors", ".json", ".model",
                                                        ".tiktoken", ".jinja"};
  constexpr std::array<std::string_view, 2> kNames = {"vocab.txt", "merges.txt"};
  if (path.find('/') != std::string_view::npos) return false;
  return EndsWithAny(path, kEndings) ||
         std::find(kNames.begin(), kNames.end(), path) != kNames.end();
}

bool MatchesAny(const std::string& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string pattern) {
    if (pattern.ends_with('/')) pattern += '*';  // a folder
    return fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
  });
}

std::string ListSome(const std::vector<RepoFile>& files, bool (*wanted)(std::string_view)) {
  std::vector<std::string_view> names;
  for (const RepoFile& file : files) {
    if (wanted(file.path)) names.push_back(file.path);
  }
  const size_t hidden = names.size() - std::min(names.size(), kMaxListed);
  names.resize(names.size() - hidden);
  return fmt::format("{}{}", fmt::join(names, ", "),
                     hidden > 0 ? fmt::format(" and {} more", hidden) : "");
}

// Why there is no model in what was selected.
Status NothingFor(const std::vector<RepoFile>& files, const HubName& name) {
  if (!name.file.empty()) {
    if (IsPickle(name.file)) {
      return InvalidArgument(
          fmt::format("{}: a pickle can run code and is never fetched", name.ToString()));
    }
    return NotFound(fmt::format("{}: the repository has no such file; it has {}", name.ToString(),
                                ListSome(files, +[](std::string_view) { return true; })));
  }
  const auto is_gguf = +[](std::string_view path) { return path.ends_with(".gguf"); };
  if (const std::string ggufs = ListSome(files, is_gguf); !ggufs.empty()) {
    return NotFound(
        fmt::format("{}: has GGUF files, name one of them, as in {}:FILE.gguf; it has {}",
                    name.ToString(), name.repository, ggufs));
  }
  if (const std::string pickles = ListSome(files, &IsPickle); !pickles.empty()) {
    return NotFound(
        fmt::format("{}: has no safetensors; its pickles ({}) can run code and are never read",
                    name.ToString(), pickles));
  }
  return NotFound(fmt::format("{}: has no safetensors and no GGUF file", name.ToString()));
}

// The default choice; `has_weights` false when there is nothing to run in it.
std::vector<RepoFile> SelectNeeded(const std::vector<RepoFile>& files, bool& has_weights) {
  std::vector<RepoFile> selected;
  std::copy_if(files.begin(), files.end(), std::back_inserter(selected),
               [](const RepoFile& file) { return IsNeeded(file.path); });
  const auto is_plain = [](const RepoFile& file) {
    return file.path.ends_with(".safetensors") && !IsConsolidated(file.path);
  };
  if (std::any_of(selected.begin(), selected.end(), is_plain)) {
    std::erase_if(selected, [](const RepoFile& file) { return IsConsolidated(file.path); });
  }
  has_weights = std::any_of(selected.begin(), selected.end(),
                            [](const RepoFile& file) { return IsWeights(file.path); });
  return selected;
}

}  // namespace

Result<std::vector<RepoFile>> SelectFiles(const std::vector<RepoFile>& files, const HubName& name,
                                          const FileFilter& filter) {
  std::vector<RepoFile> selected;
  bool has_weights = true;
  if (!name.file.empty()) {
    std::copy_if(files.begin(), files.end(), std::back_inserter(selected),
                 [&](const RepoFile& file) { return file.path == name.file; });
  } else if (!filter.include.empty()) {
    std::copy_if(files.begin(), files.end(), std::back_inserter(selected),
                 [&](const RepoFile& file) { return MatchesAny(file.path, filter.include); });
  } else {
    selected = SelectNeeded(files, has_weights);
  }
  std::erase_if(selected, [&](const RepoFile& file) {
    return IsPickle(file.path) || MatchesAny(file.path, filter.exclude);
  });
  if (!has_weights || (selected.empty() && !name.file.empty())) return NothingFor(files, name);
  if (selected.empty()) {
    return NotFound(fmt::format("{}: no file passes --include and --exclude (pickles never do)",
                                name.ToString()));
  }
  std::stable_sort(selected.begin(), selected.end(), [](const RepoFile& a, const RepoFile& b) {
    return IsWeights(a.path) < IsWeights(b.path);
  });
  return selected;
}

}  // namespace octavo::hub
