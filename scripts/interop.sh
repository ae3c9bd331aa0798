#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs tests/interop/*.py: Octavo against the libraries it must agree with (transformers,
# compressed-tensors, tokenizers, Jinja2, ...), in a virtual environment made here (.venv-interop).
# usage: interop.sh [--venv-only | SCRIPT.py...]       needs build/release/octavo and the network once
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/.venv-interop
requirements=tests/interop/requirements.txt
# The stamp is written last, so that an interrupted installation is taken up again.
if ! cmp -s "$requirements" "$venv/installed.txt"; then
  echo "interop.sh: making $venv (torch and transformers: about 2 GB)" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi
[ "${1:-}" != --venv-only ] || exit 0

octavo=${OCTAVO:-$PWD/build/release/octavo}
if [ ! -x "$octavo" ]; then
  echo "interop.sh: $octavo is missing; build it first: scripts/test.sh" >&2
  exit 1
fi
# The scripts want a 16-bit folder; the GGUF is there to check the import itself.
OCTAVO_DEFAULT_GGUF=$(scripts/fetch_default_model.sh)
export OCTAVO_DEFAULT_GGUF
model=${OCTAVO_DEFAULT_GGUF%.Q4_1.gguf}
[ -f "$model/config.json" ] || "$octavo" import "$OCTAVO_DEFAULT_GGUF" -o "$model"
scripts=("$@")
[ ${#scripts[@]} -gt 0 ] || scripts=(tests/interop/*.py)

# Every script takes the program and the default model's folder, and exits with 0 (passed), 77 (skipped: says
# why) or anything else (failed).
passed=0 failed=0 skipped=0
for script in "${scripts[@]}"; do
  [ "$(basename "$script")" != common.py ] || continue
  echo "== $script"
  code=0
  HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONWARNINGS=ignore \
    "$venv/bin/python" "$script" "$octavo" "$model" || code=$?
  case $code in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)); echo "interop.sh: FAILED $script (exit $code)" >&2 ;;
  esac
done
echo "interop: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
