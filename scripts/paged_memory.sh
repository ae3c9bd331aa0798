#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints what paging and sharing save, as a Markdown table: pages in use, summed over the steps of each
# run, against the same run without sharing, and what PagedAttention's paper reports.
# usage: paged_memory.sh       needs build/release/src/engine_test; fails when a page count is not as predicted
set -euo pipefail
cd "$(dirname "$0")/.."
test=${ENGINE_TEST:-$(find build/release -name engine_test -type f -perm -u+x -print -quit)}
[ -n "$test" ] || { echo "paged_memory.sh: engine_test is missing; build it first: scripts/test.sh" >&2; exit 1; }
echo "| run | pages x steps, unshared | pages x steps | saved | paper |"
echo "|---|---:|---:|---:|---:|"
"$test" --gtest_filter='PagedMemoryTest.*' --gtest_brief=1 | { grep -v '^\[\|^Running\|^Note' || true; }
printf '\nPages of 16 tokens, the real scheduler and block manager over a model of token hashes; in every step the pages\nin use were those predicted. How soon beams part depends on the model.\n'
