#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing Octavo needs on Debian 12 (bookworm) or later. Does nothing, and
# needs no rights, when all of it is there. As a normal user it asks sudo for the installation.
# usage: setup.sh
set -euo pipefail

# Tools: "program package". Any installation of the program counts, not only Debian's.
tools=(
  "cmake cmake"
  "ninja ninja-build"
  "g++ g++"
  "pkg-config pkg-config"
  "git git"
  "python3 python3"
)
# Libraries (third_party/README.md says why each) and what Debian splits off Python.
packages=(
  libboost1.81-dev
  libcli11-dev
  libcurl4-openssl-dev
  libfmt-dev
  libgmock-dev
  libgtest-dev
  libonig-dev
  libssl-dev
  libutf8proc-dev
  libyaml-cpp-dev
  nlohmann-json3-dev
  prometheus-cpp-dev
  ca-certificates
)

missing=()
for row in "${tools[@]}"; do
  command -v "${row% *}" >/dev/null || missing+=("${row#* }")
done
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
python3 -c 'import pip' 2>/dev/null || missing+=(python3-pip)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup.sh: this is not a Debian system; install these (Debian's names) by hand: ${missing[*]}" >&2
  exit 1
fi
root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: run this as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
