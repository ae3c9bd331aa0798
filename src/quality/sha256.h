// SPDX-License-Identifier: Apache-2.0
// SHA-256 of texts and files, in lower-case hexadecimal as sha256sum prints it.
#pragma once

#include <string>
#include <string_view>

#include "octavo/status.h"

namespace octavo {

std::string Sha256(std::string_view text);

// Reads the file in blocks. Errors: NotFound, IoError.
Result<std::string> Sha256OfFile(const std::string& path);

}  // namespace octavo
