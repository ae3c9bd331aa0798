#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Octavo beside llama.cpp, OpenVINO GenAI and vLLM on this machine: compare.py with its defaults.
# usage: bench/compare.sh [OPTIONS of compare.py]      see bench/README.md
set -euo pipefail
exec python3 "$(dirname "$0")/compare.py" "$@"
