// SPDX-License-Identifier: Apache-2.0
// The frame of every report page: one file, no scripts, light and dark, readable on a phone.
#pragma once

#include <string>

namespace octavo {

// `body` is HTML in which every text is escaped (EscapeHtml).
std::string HtmlPage(const std::string& title, const std::string& body);

}  // namespace octavo
