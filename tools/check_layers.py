#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every #include follows the arrows between the folders of src/ (docs/architecture.md).

A folder includes only lower levels and itself; server and eval see the public headers in
include/octavo/ and base only. Usage: check_layers.py REPOSITORY
"""
import pathlib
import re
import sys

LEVEL = {
    "base": 0, "tensor": 1, "io": 2, "hub": 2, "tokenizer": 2, "kernels": 2, "schemes": 3, "layers": 4,
    "models": 5, "metrics": 5, "quantizers": 6, "engine": 6, "quality": 6, "eval": 7, "server": 7, "cli": 8,
}
PUBLIC_ONLY = {"eval": {"base"}, "server": {"base"}}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([a-z0-9_]+)/', re.MULTILINE)


def violations(root: pathlib.Path):
    for path in sorted((root / "src").rglob("*")):
        if path.suffix not in {".h", ".cc", ".inc"}:
            continue
        folder = path.relative_to(root / "src").parts[0]
        if folder not in LEVEL:
            yield f"{path}: folder '{folder}' has no level in tools/check_layers.py"
            continue
        for target in INCLUDE.findall(path.read_text()):
            if target == folder or target not in LEVEL:
                continue
            if folder in PUBLIC_ONLY and target not in PUBLIC_ONLY[folder]:
                yield f"{path}: '{folder}' may include include/octavo/ only, not '{target}'"
            elif LEVEL[target] >= LEVEL[folder]:
                yield f"{path}: '{folder}' (level {LEVEL[folder]}) includes '{target}' (level {LEVEL[target]})"


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = list(violations(root))
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
