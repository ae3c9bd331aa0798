// SPDX-License-Identifier: Apache-2.0
// Where the hub is, who asks, and where files are kept: the environment variables that Hugging
// Face's own tools read, and Octavo's.
#pragma once

#include <string>

#include "octavo/status.h"

namespace octavo::hub {

struct HubSettings {
  std::string endpoint;   // "https://host[:port][/path]", no trailing slash
  std::string cache_dir;  // holds models--ORG--NAME folders
  std::string token;      // may be empty
  bool offline = false;
  int timeout_s = 30;  // without a byte, until a connection counts as dead

  // endpoint   OCTAVO_HUB_URL, HF_ENDPOINT, else the public hub
  // cache_dir  HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, else hub/ in HF_HOME, else in huggingface/ of
  //            XDG_CACHE_HOME or ~/.cache
  // token      HF_TOKEN, HUGGING_FACE_HUB_TOKEN, else the file HF_TOKEN_PATH or token in HF_HOME
  // offline    OCTAVO_OFFLINE, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is 1, true, yes or on
  // timeout_s  HF_HUB_DOWNLOAD_TIMEOUT
  // InvalidArgument for an endpoint that is no http(s) address or a token that is no token.
  static Result<HubSettings> FromEnvironment();

  // OK for a token that can be sent: printable ASCII without blanks.
  static Status CheckToken(const std::string& token);
};

}  // namespace octavo::hub
