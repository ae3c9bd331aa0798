// SPDX-License-Identifier: Apache-2.0
// The two checksums that the hub knows files by.
#pragma once

#include <string>

#include "hub/hub_listing.h"
#include "octavo/status.h"

namespace octavo::hub {

// The hexadecimal SHA-256 of the file at `path`, or, for one that is not `large`, the SHA-1 that
// git gives it ("blob SIZE\0" and the content).
Result<std::string> HashFile(const std::string& path, bool large);

// OK when size and hash are `file`'s; DataLoss names both.
Status VerifyFile(const std::string& path, const RepoFile& file);

}  // namespace octavo::hub
