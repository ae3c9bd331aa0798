// SPDX-License-Identifier: Apache-2.0
// The chat page at "/": one HTML file, put together from src/server/page/ and embedded at build time.
#pragma once

#include "server/http_message.h"

namespace octavo::server {

// The page with a Content-Security-Policy that allows exactly its own script and style, and
// connections to this server only. Made once; the reference stays valid.
const HttpResponse& PageResponse();

}  // namespace octavo::server
