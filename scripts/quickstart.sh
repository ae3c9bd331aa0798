#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a running model: installs what the build needs, builds the release program,
# fetches the default model (SmolLM2-135M-Instruct, 98 MB), quantizes it, lets it answer a prompt, and
# starts the server with its chat page.
# usage: quickstart.sh [PROMPT]
#        quickstart.sh --check    for CI: fails unless the answer came, asks the server once, stops it
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

generate=("$octavo" generate "$small" --chat --prompt "$prompt" --max-tokens 64)
if ! $check; then
  printf '\n> %s\n' "$prompt"
  "${generate[@]}"
  printf '\nStarting the server; Ctrl-C stops it. In the terminal: build/release/octavo chat %s\n' "$small"
  exec "$octavo" serve "$small"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${generate[@]}" --json "$work/answer.json"
python3 - "$octavo" "$small" "$work/answer.json" <<'PY'
import json, signal, subprocess, sys, urllib.request

octavo, model, report = sys.argv[1:]
answer = json.load(open(report))
assert answer["token_ids"] and "Paris" in answer["text"], answer

server = subprocess.Popen([octavo, "serve", model, "--port", "0"], stderr=subprocess.PIPE, text=True)
try:
    for line in server.stderr:
        if " listens on " in line:
            url = line.split(" listens on ")[1].split()[0].rstrip("/")
        if line.startswith("ready"):
            break
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 32, "temperature": 0}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    reply = json.load(urllib.request.urlopen(request, timeout=120))
    text = reply["choices"][0]["message"]["content"]
    assert "Paris" in text, reply
    page = urllib.request.urlopen(url + "/", timeout=30).read()
    assert b"<html" in page.lower()
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0, "the server did not stop cleanly"
finally:
    server.kill()
print("quickstart: the answer, the server's answer and the chat page are there:", text)
PY
