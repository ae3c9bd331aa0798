// SPDX-License-Identifier: Apache-2.0
// SHA-1 and SHA-256 of texts and files, in lower-case hexadecimal as sha256sum prints it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "octavo/status.h"

struct evp_md_ctx_st;

namespace octavo {

class Digest {
 public:
  enum class Kind { kSha1, kSha256 };

  // Errors: Internal where the machine's OpenSSL does not offer the digest.
  static Result<Digest> Create(Kind kind);

  Status Add(const void* data, size_t bytes);
  // The content of a file, read in blocks. Errors: NotFound, IoError.
  Status AddFile(const std::string& path);

  // Of all that was added; nothing may follow.
  Result<std::string> Hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  explicit Digest(evp_md_ctx_st* context) : context_(context) {}

  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

Result<std::string> Sha256(std::string_view text);
Result<std::string> Sha256OfFile(const std::string& path);

}  // namespace octavo
