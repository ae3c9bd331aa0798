# SPDX-License-Identifier: Apache-2.0
"""A bar chart of compare.py's medians as a self-contained SVG, readable on light and dark pages."""
import html
import statistics

BAR, GAP, HEAD, LABEL, WIDTH = 18, 6, 34, 190, 760
OWN, OTHER, TEXT = "#2f7ed8", "#9aa5b1", "#6b7280"


def bars(rows, y, title):
    """SVG lines of one block of (engine, value) rows, and the y below it."""
    top = max(value for _, value in rows)
    parts = [f'<text x="0" y="{y + 18}" font-weight="600" fill="{TEXT}">{html.escape(title)}</text>']
    y += HEAD
    for engine, value in rows:
        length = (WIDTH - LABEL - 90) * value / top
        color = OWN if engine.startswith("Octavo") else OTHER
        parts += [f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end" fill="{TEXT}">{html.escape(engine)}</text>',
                  f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" fill="{color}"/>',
                  f'<text x="{LABEL + length + 6:.1f}" y="{y + 13}" fill="{TEXT}">{value:,.0f}</text>']
        y += BAR + GAP
    return parts, y + GAP


def write_chart(path, table):
    parts, y = [], 0
    for (model, case, batch), engines in table.items():
        for key, what in (("prefill_tok_s", "prefill"), ("decode_tok_s", "decode")):
            rows = [(engine, statistics.median(f[key])) for engine, f in engines.items() if f.get(key)]
            if rows:
                block, y = bars(rows, y, f"{model}, {case}, batch {batch}: {what}, tokens/s")
                parts += block
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" '
                  f'font-size="13">\n' + "\n".join(parts) + "\n</svg>\n")
