#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything and runs the tests: the everyday loop. Slow tests (real models) run with --all.
# usage: test.sh [--all] [ctest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

select=(-LE slow)
if [ "${1:-}" = --all ]; then
  select=()
  shift
fi
scripts/setup.sh
cmake --preset release
cmake --build --preset release
exec ctest --test-dir build/release --output-on-failure -j "$(nproc)" "${select[@]}" "$@"
