// SPDX-License-Identifier: Apache-2.0
// Who may talk to the server: API keys, cross-origin pages, and names the server answers to.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/http_message.h"

namespace octavo::server {

struct AccessOptions {
  std::vector<std::string> api_keys = {};         // Empty: no key needed.
  std::vector<std::string> allowed_origins = {};  // Of pages of other sites; "*": any.
  std::vector<std::string> allowed_hosts = {};    // Further values of the Host header; "*": any.
  // Listening on loopback: then only names of this machine are answered to, because a hostile page
  // could else reach us by a DNS name of its own that resolves to 127.0.0.1.
  bool loopback_only = true;
};

class AccessControl {
 public:
  explicit AccessControl(AccessOptions options);

  // Looks at the head of a request; an error refuses it: 401 without a valid key (every path but
  // /health), 403 for foreign origins, 421 for foreign host names. Keys are compared in constant
  // time; they come as "Authorization: Bearer KEY" or as the password of Basic (for browsers).
  std::optional<ApiError> Check(const HttpRequest& head) const;

  // The CORS headers for an allowed foreign origin; empty else.
  std::vector<HttpHeader> CorsHeaders(const HttpRequest& head) const;

 private:
  using Digest = std::array<unsigned char, 32>;

  bool HostAllowed(std::string_view host) const;
  bool OriginAllowed(const HttpRequest& head) const;
  bool KeyValid(std::string_view key) const;

  AccessOptions options_;
  std::vector<Digest> key_digests_;
};

// True for 127.0.0.0/8, ::1 and localhost.
bool IsLoopbackHost(std::string_view host);

}  // namespace octavo::server
