// SPDX-License-Identifier: Apache-2.0
// Which files of a repository are fetched.
#pragma once

#include <string>
#include <vector>

#include "hub/hub_listing.h"
#include "hub/hub_name.h"
#include "octavo/status.h"

namespace octavo::hub {

struct FileFilter {
  // Shell patterns over whole paths, where '*' also matches '/', as in Hugging Face's tools.
  std::vector<std::string> include = {};  // empty: what the engine needs
  std::vector<std::string> exclude = {};
};

// Without include patterns and without name.file, what the engine reads from the top folder:
// safetensors (no consolidated copy beside the shards), JSON, tokenizer and template files. Pickles
// (.bin, .pt, .pth, .ckpt, .pkl) can run code when read and are never selected. The order is small
// files first and weights last, so that a folder with weights has the rest.
// NotFound when nothing is left: says what the repository has instead, such as its GGUF files.
Result<std::vector<RepoFile>> SelectFiles(const std::vector<RepoFile>& files, const HubName& name,
                                          const FileFilter& filter);

}  // namespace octavo::hub
