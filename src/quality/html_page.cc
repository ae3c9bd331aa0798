// SPDX-License-Identifier: Apache-2.0
// Style sheet and head of the pages; the policy forbids loading and running anything.
#include "quality/html_page.h"

#include <fmt/format.h>

#include <string_view>

#include "quality/svg_plot.h"

namespace octavo {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16202b;--soft:#5b6875;--line:#dfe4ea;
--a:#2458c5;--b:#d9632a;--mark:#b3261e;
--h0:#f1f4f9;--h1:#dfe8f5;--h2:#c9daf0;--h3:#aecae9;--h4:#8fb6e0;--h5:#6f9fd5;--h6:#5487c7;--h7:#3f6fb5;--h8:#31589e;--h9:#274484;--h10:#1d3168;--h11:#131f49}
@media(prefers-color-scheme:dark){:root{--bg:#10151b;--card:#181f27;--ink:#e8edf2;--soft:#9aa7b4;--line:#2b3540;
--a:#7fb0ff;--b:#ff9d66;--mark:#ff8a80;
--h0:#1d2631;--h1:#22324a;--h2:#273f63;--h3:#2d4e7d;--h4:#345e97;--h5:#3f71b0;--h6:#5388c4;--h7:#70a1d3;--h8:#93bbdf;--h9:#b7d2e8;--h10:#d9e6ee;--h11:#fbf6e3}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 16px 56px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:0 0 2px}
p{margin:0 0 10px}.soft,small{color:var(--soft)}small{font-size:.85rem}
.grid{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));margin:14px 0}
.cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));margin:20px 0 14px}
section,.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px;min-width:0}
.card b{display:block;font-size:1.55rem;line-height:1.25;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.88rem}
.wide{margin:14px 0}.eyebrow{color:var(--a);font-size:.8rem;font-weight:600;letter-spacing:.06em;text-transform:uppercase;margin:0 0 4px}
@media(max-width:480px){.card:last-child:nth-child(odd){grid-column:1/-1}}
.verdict{display:inline-block;border:1px solid currentColor;border-radius:99px;padding:1px 12px;font-size:.9rem;margin-top:8px}
svg{display:block;width:100%;height:auto;margin-top:8px}
.t{font:11px system-ui,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
.l{font:12px system-ui,sans-serif;fill:var(--soft)}.m{font:11px system-ui,sans-serif;fill:var(--mark)}
line.grid{stroke:var(--line)}line.axis{stroke:var(--soft)}line.mark{stroke:var(--mark);stroke-dasharray:3 3}
.bar{fill:var(--a)}.s0,.s1{fill:none;stroke-width:1.8}.s0{stroke:var(--a)}.s1{stroke:var(--b)}.d0{fill:var(--a)}.d1{fill:var(--b)}
.h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}.h3{fill:var(--h3)}.h4{fill:var(--h4)}.h5{fill:var(--h5)}.h6{fill:var(--h6)}.h7{fill:var(--h7)}.h8{fill:var(--h8)}.h9{fill:var(--h9)}.h10{fill:var(--h10)}.h11{fill:var(--h11)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th{text-align:left;color:var(--soft);font-weight:500}th,td{padding:6px 10px 6px 0;border-top:1px solid var(--line);vertical-align:top}
tr:first-child th{border-top:0}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
code,pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}td code{white-space:pre-wrap;overflow-wrap:anywhere}
.ctx{min-width:220px;max-width:420px}.said{background:var(--bg);border-radius:5px;padding:0 4px}
pre{margin:8px 0 0;overflow-x:auto}.hash{font-size:11px;color:var(--soft);overflow-wrap:anywhere}
)css";

}  // namespace

std::string HtmlPage(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n<title>{}</title><style>{}</style></head><body><main>\n{}</main></body></html>"
      "\n",
      EscapeHtml(title), kStyle, body);
}

}  // namespace octavo
