#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets (tests/fuzz, clang 19) and runs them one after the other on one core. Inputs
# that reach new code collect in build/fuzz/corpus/NAME, crashes in build/fuzz/findings/NAME; a crash
# restarts its target until the time is over. The table of figures goes to build/fuzz/figures.tsv.
# usage: fuzz.sh [--seconds N] [TARGET...]        N per target, default 60; TARGET such as gguf
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
if [ "${1:-}" = --seconds ]; then
  seconds=$2
  shift 2
fi
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for source in tests/fuzz/*_fuzz.cc; do targets+=("$(basename "$source" _fuzz.cc)"); done
fi

build=build/fuzz
cmake --preset fuzz >/dev/null
nice cmake --build --preset fuzz --target "${targets[@]/%/_fuzz}" | tail -n 1

readonly kRssLimitMb=1024      # what no input of this size may need
readonly kMallocLimitMb=512    # in one piece
readonly kMaxLen=65536         # bytes of an input
readonly kTimeoutSeconds=20    # for one input, with sanitizers, on a busy machine
readonly kMaxFindings=20       # then the target is given up

limits=(-timeout=$kTimeoutSeconds -rss_limit_mb=$kRssLimitMb -malloc_limit_mb=$kMallocLimitMb)
readonly limits

# Drops the findings of target $1 in folder $2 that do not fail again: a machine that stops for a
# while makes time-outs of its own. libFuzzer writes slow-unit-* for inputs that are merely slow.
confirm() {
  local input
  for input in "$2"/*; do
    [ -f "$input" ] || continue
    if nice -n 19 "$build/tests/fuzz/${1}_fuzz" "${limits[@]}" "$input" >/dev/null 2>&1; then
      rm "$input"
    fi
  done
}

# Fuzzes target $1 for $seconds; prints its row of the table.
fuzz() {
  local name=$1 executions=0 start=$SECONDS
  local corpus=$build/corpus/$name findings=$build/findings/$name log=$build/$name.log
  mkdir -p "$corpus" "$findings"
  : >"$log"
  while [ $((SECONDS - start)) -lt "$seconds" ] &&
        [ "$(find "$findings" -type f | wc -l)" -lt $kMaxFindings ]; do
    local run=$build/$name.run.log
    nice -n 19 "$build/tests/fuzz/${name}_fuzz" "$corpus" "tests/fuzz/corpus/$name" \
      -max_total_time=$((seconds - (SECONDS - start))) -max_len=$kMaxLen "${limits[@]}" \
      -print_final_stats=1 -artifact_prefix="$findings/" >"$run" 2>&1 || true
    # A run that crashed prints no final figure for every kind of crash; its last pulse counts then.
    local done
    done=$(grep -oP '(?<=number_of_executed_units: )[0-9]+' "$run" | tail -n 1 || true)
    [ -n "$done" ] || done=$(grep -oP '^#\K[0-9]+' "$run" | tail -n 1 || true)
    executions=$((executions + ${done:-0}))
    cat "$run" >>"$log"
    rm "$run"
    confirm "$name" "$findings"
  done
  printf '%s\t%d\t%d\t%d\n' "$name" $((SECONDS - start)) "$executions" \
    "$(find "$findings" -type f | wc -l)"
}

found=0
for name in "${targets[@]}"; do
  row=$(fuzz "$name")
  echo "$row" | tee -a $build/figures.tsv
  [ "${row##*$'\t'}" = 0 ] || found=1
done
[ $found = 0 ] || echo "fuzz.sh: see $build/findings" >&2
exit $found
