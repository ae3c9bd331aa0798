// SPDX-License-Identifier: Apache-2.0
// Names of models on a hub: ORG/NAME, with a revision and a file where wanted.
#pragma once

#include <string>
#include <string_view>

#include "octavo/status.h"

namespace octavo::hub {

inline constexpr std::string_view kDefaultRevision = "main";

struct HubName {
  std::string repository = {};             // "ORG/NAME"
  std::string revision{kDefaultRevision};  // branch, tag, "refs/pr/1" or commit
  std::string file = {};                   // path inside the repository; empty: the model

  std::string ToString() const;
};

// "ORG/NAME", "ORG/NAME@REVISION", "ORG/NAME:folder/FILE.gguf", "ORG/NAME@REVISION:FILE.gguf".
// InvalidArgument says which part is not allowed; all parts are safe as file names afterwards.
Result<HubName> ParseHubName(std::string_view text);

// Whether `text`, which is no existing path, is meant as a hub name: it parses as one and its name
// does not end like a file ("out/model.gguf" is a missing file).
bool LooksLikeHubName(std::string_view text);

// OK for branches, tags and commits that may become part of a path.
Status CheckRevision(std::string_view revision);

// OK for a relative path that stays below its folder: no empty, "." or ".." component, no control
// character, no backslash, and no component longer than a file name may be.
Status CheckRelativePath(std::string_view path);

// 40 lower-case hexadecimal digits.
bool IsCommit(std::string_view revision);

}  // namespace octavo::hub
