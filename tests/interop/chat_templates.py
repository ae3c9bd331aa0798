#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders real chat templates with Octavo and with Jinja2 as transformers sets it up; the texts must be equal.

Usage: chat_templates.py OCTAVO MODEL [TEMPLATE...]
Without a TEMPLATE: all *.jinja files of the folder $OCTAVO_CHAT_TEMPLATES, else those that the source package of
llama-cpp-python carries (some 70 templates of published models; fetched once with pip). Each is given conversations
with and without a system message, tools, tool calls, reasoning, documents and a generation prompt. A template that
refuses a conversation must do so on both sides. Needs: transformers, jinja2.
"""
import collections
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tarfile

import jinja2
from transformers.utils import chat_template_utils

PACKAGE = "llama-cpp-python==0.3.36"
NOW = 1767225600  # 2026-01-01
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place, \"now\" & later <b>é</b>",
    "parameters": {"type": "object", "required": ["city"],
                   "properties": {"city": {"type": "string", "description": "Name of a city"},
                                  "days": {"type": "integer", "description": "How many days", "default": 1},
                                  "units": {"type": "string", "enum": ["C", "F"]}}}}},
         {"type": "function", "function": {"name": "noop", "description": "Does nothing",
                                           "parameters": {"type": "object", "properties": {}}}}]


def call(arguments, identifier="abc123def"):
    return {"role": "assistant", "content": "", "tool_calls": [
        {"id": identifier, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]}


USER = {"role": "user", "content": "Hello! Is it 5 < 7 & \"warm\" in Zürich?\n"}
ANSWER = {"role": "assistant", "content": "  It is.\n\nVery warm. "}
SYSTEM = {"role": "system", "content": "You are a careful assistant."}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abc123def", "content": "{\"temp\": 21.5}"}
THOUGHT = {"role": "assistant", "content": "<think>\nLet me see.\n</think>\n\nNo.",
           "reasoning_content": "Let me see."}
# Differences that stay, by template; all in conversations with tools.
KNOWN = {
    "llama-cpp-deepseek-r1": "tojson of a lazy sequence: Jinja2 refuses, Octavo writes the list",
    "meetkai-functionary-medium-v3.1": "`|safe` makes Jinja2 escape the plain text that is joined to it as HTML",
}
CASES = {
    "one turn": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "three turns": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "And tomorrow?"}]},
    "no prompt": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "tools": {"messages": [SYSTEM, USER], "tools": TOOLS},
    "tool call": {"messages": [USER, call({"city": "Zürich", "days": 2, "deep": {"a": [1, 2.5, None, True]}}), RESULT],
                  "tools": TOOLS},
    "tool call, text": {"messages": [USER, call("{\"city\": \"Bern\"}"), RESULT, ANSWER, USER], "tools": TOOLS},
    "reasoning": {"messages": [USER, THOUGHT, USER], "variables": {"enable_thinking": False}},
    "thinking": {"messages": [USER], "variables": {"enable_thinking": True, "thinking": True}},
    "documents": {"messages": [USER], "documents": [{"title": "A", "text": "Text of A", "contents": "Text"}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"},
                                                        {"type": "text", "text": "you"}]}]},
    "nothing": {"messages": []},
}


def templates(arguments):
    if arguments:
        return [pathlib.Path(path) for path in arguments]
    folder = os.environ.get("OCTAVO_CHAT_TEMPLATES")
    return sorted(pathlib.Path(folder or fetch()).glob("*.jinja"))


def fetch():
    """Downloads the package's sources once and unpacks its templates; returns their folder."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "octavo/chat-templates"
    stamp = cache / "complete"
    if stamp.exists() and stamp.read_text() == PACKAGE:
        return cache
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                           "--dest", str(cache), PACKAGE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(f"skipped: cannot download {PACKAGE} for its templates:\n{done.stdout[-400:]}")
        sys.exit(77)
    for archive in cache.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.isfile() and "/models/templates/" in member.name and member.name.endswith(".jinja"):
                    (cache / pathlib.PurePosixPath(member.name).name).write_bytes(tar.extractfile(member).read())
        archive.unlink()
    stamp.write_text(PACKAGE)
    return cache


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


def by_jinja(source, case):
    """(text, None) or (None, reason)."""
    chat_template_utils.datetime = Clock
    try:
        compiled = chat_template_utils._compile_jinja_template(source)
        return compiled.render(messages=case["messages"], tools=case.get("tools"), documents=case.get("documents"),
                               add_generation_prompt=case.get("add_generation_prompt", True),
                               **{**SPECIAL, **case.get("variables", {})}), None
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        return None, f"{type(error).__name__}: {error}"


def by_octavo(tool, path, case):
    given = json.dumps({**case, "special_tokens": SPECIAL, "now": NOW})
    done = subprocess.run([tool, "render", str(path)], input=given.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, "TZ": "UTC"})
    if done.returncode == 0:
        return done.stdout.decode(), None
    return None, done.stderr.decode().strip()


def compare(tool, path):
    """Prints what differs; returns counts by outcome."""
    counts = collections.Counter()
    source = path.read_text()
    for name, case in CASES.items():
        want, refusal = by_jinja(source, case)
        got, error = by_octavo(tool, path, case)
        if want == got:
            counts["equal" if want is not None else "refused by both"] += 1
            continue
        if path.stem in KNOWN and "tools" in case:
            counts["known to differ"] += 1
            continue
        counts["different"] += 1
        print(f"  {path.stem}, {name}: ", end="")
        if want is not None and got is not None:
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
            print(f"at {at} want {want[max(0, at - 30):at + 40]!r} got {got[max(0, at - 30):at + 40]!r}")
        else:
            print(f"want {refusal or 'text'!r}, got {error or 'text'!r}")
    return counts


def main():
    os.environ["TZ"] = "UTC"
    tool = pathlib.Path(sys.argv[1]).with_name("tokenizer_tool")
    if not tool.exists():
        tool = next(pathlib.Path(sys.argv[1]).parent.rglob("tokenizer_tool"), tool)
    total, clean = collections.Counter(), 0
    paths = templates(sys.argv[3:])
    for path in paths:
        counts = compare(str(tool), path)
        clean += not counts["different"] and not counts["known to differ"]
        total += counts
    print(f"{len(paths)} templates, {clean} without a difference; conversations: "
          + ", ".join(f"{count} {what}" for what, count in sorted(total.items())))
    for name, reason in KNOWN.items():
        print(f"  known: {name}: {reason}")
    return 1 if total["different"] or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
