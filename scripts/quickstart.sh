#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to an answer: installs what the build needs, builds the release program, fetches
# the default model (SmolLM2-135M-Instruct, 98 MB), quantizes it and lets it answer a prompt.
# usage: quickstart.sh [PROMPT]      quickstart.sh --check: for CI; fails unless an answer came
set -euo pipefail
cd "$(dirname "$0")/.."

check=false
if [ "${1:-}" = --check ]; then
  check=true
  shift
fi
prompt=${1:-What is the capital of France?}
scheme=W8A8
home=${OCTAVO_HOME:-$HOME/.cache/octavo}
small=$home/models/SmolLM2-135M-Instruct-$scheme

scripts/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target octavo
octavo=$PWD/build/release/octavo
model=$(scripts/fetch_default_model.sh)
[ -d "$small" ] || "$octavo" quantize "$model" --scheme "$scheme" -o "$small"

arguments=("$small" --chat --prompt "$prompt" --max-tokens 64)
if $check; then
  report=$(mktemp)
  trap 'rm -f "$report"' EXIT
  "$octavo" generate "${arguments[@]}" --json "$report"
  python3 - "$report" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
assert report["token_ids"] and "Paris" in report["text"], report
PY
else
  "$octavo" generate "${arguments[@]}"
  echo
  echo "Next: build/release/octavo chat $small"
fi
