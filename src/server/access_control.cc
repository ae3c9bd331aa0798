// SPDX-License-Identifier: Apache-2.0
// AccessControl: keys are compared as SHA-256 digests, so neither content nor length shows in time.
#include "server/access_control.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

namespace octavo::server {
namespace {

constexpr size_t kMaxKeyBytes = 4096;

std::array<unsigned char, 32> Sha256(std::string_view text) {
  std::array<unsigned char, 32> digest = {};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool IsOneOf(const std::vector<std::string>& list, std::string_view value) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) {
    return entry == "*" || EqualsIgnoreCase(entry, value);
  });
}

std::string_view WithoutPort(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.rfind(':'));
}

// The password of "user:password" in base64; empty if it is none.
std::string BasicPassword(std::string_view encoded) {
  if (encoded.size() > kMaxKeyBytes || encoded.size() % 4 != 0) return {};
  std::string text(encoded.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(encoded.data()),
                                   static_cast<int>(encoded.size()));
  if (size < 0) return {};
  text.resize(static_cast<size_t>(size));
  // The decoder turns padding into NUL bytes.
  for (size_t i = encoded.size(); i > 0 && encoded[i - 1] == '='; --i) text.pop_back();
  const size_t colon = text.find(':');
  return colon == std::string::npos ? std::string() : text.substr(colon + 1);
}

std::string KeyOf(std::string_view authorization) {
  const size_t space = authorization.find(' ');
  if (space == std::string_view::npos || authorization.size() > kMaxKeyBytes) return {};
  const std::string_view scheme = authorization.substr(0, space);
  std::string_view value = authorization.substr(space);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  if (EqualsIgnoreCase(scheme, "Bearer")) return std::string(value);
  return EqualsIgnoreCase(scheme, "Basic") ? BasicPassword(value) : std::string();
}

}  // namespace

bool IsLoopbackHost(std::string_view host) {
  return EqualsIgnoreCase(host, "localhost") || host.starts_with("127.") || host == "::1" ||
         host == "[::1]";
}

AccessControl::AccessControl(AccessOptions options) : options_(std::move(options)) {
  for (const std::string& key : options_.api_keys) key_digests_.push_back(Sha256(key));
}

std::optional<ApiError> AccessControl::Check(const HttpRequest& head) const {
  if (!HostAllowed(head.Header("Host"))) {
    return ApiError{421, "this server does not answer to that Host (--allowed-hosts)", "", ""};
  }
  if (!OriginAllowed(head)) {
    return ApiError{403, "pages of other origins may not use this server (--allowed-origins)", "",
                    "origin_not_allowed"};
  }
  // A preflight carries no credentials and learns nothing.
  const bool open = key_digests_.empty() || head.path == "/health" || head.method == "OPTIONS";
  if (open || KeyValid(KeyOf(head.Header("Authorization")))) return std::nullopt;
  return ApiError{401, "missing or wrong API key: want 'Authorization: Bearer KEY'", "",
                  "invalid_api_key"};
}

bool AccessControl::HostAllowed(std::string_view host) const {
  if (!options_.loopback_only && options_.allowed_hosts.empty()) return true;
  // HTTP/1.0 and unix socket clients may send none; browsers, against whom this is, always do.
  if (host.empty()) return true;
  const std::string_view name = WithoutPort(host);
  return IsLoopbackHost(name) || IsOneOf(options_.allowed_hosts, name) ||
         IsOneOf(options_.allowed_hosts, host);
}

bool AccessControl::OriginAllowed(const HttpRequest& head) const {
  const std::string_view origin = head.Header("Origin");
  if (origin.empty()) return true;
  const size_t scheme = origin.find("://");
  const std::string_view host = head.Header("Host");
  if (scheme != std::string_view::npos && !host.empty() &&
      EqualsIgnoreCase(origin.substr(scheme + 3), host)) {
    return true;
  }
  return IsOneOf(options_.allowed_origins, origin);
}

bool AccessControl::KeyValid(std::string_view key) const {
  const Digest digest = Sha256(key);
  int matches = 0;
  for (const Digest& known : key_digests_) {
    matches |= CRYPTO_memcmp(digest.data(), known.data(), digest.size()) == 0 ? 1 : 0;
  }
  return matches != 0 && !key.empty();
}

std::vector<HttpHeader> AccessControl::CorsHeaders(const HttpRequest& head) const {
  const std::string_view origin = head.Header("Origin");
  if (origin.empty() || !IsOneOf(options_.allowed_origins, origin)) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
          {"Access-Control-Allow-Headers", "Authorization, Content-Type"},
          {"Access-Control-Expose-Headers", "X-Request-Id, X-Octavo-Ignored-Fields, Retry-After"},
          {"Access-Control-Max-Age", "600"},
          {"Vary", "Origin"}};
}

}  // namespace octavo::server
