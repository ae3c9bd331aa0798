#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares our tokens with those of the tokenizers library on generated mixed text.

Usage: tokenizer_parity.py BINARY [MODEL ...]
BINARY is `octavo` or `tokenizer_tool`. MODEL is a folder with a tokenizer.json; without any, the
folders of $OCTAVO_MODELS/hf and $OCTAVO_SHARED/tokenizers are taken. Two Unigram models, with and without byte
fallback, are trained on the project's documents first. Needs: tokenizers, sentencepiece, protobuf.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import sentencepiece
import sentencepiece.sentencepiece_model_pb2
import tokenizers

import common

SCRIPTS = [
    (0x0041, 0x007A), (0x00C0, 0x024F), (0x0370, 0x03FF), (0x0400, 0x04FF), (0x0590, 0x05F4),
    (0x0600, 0x06FF), (0x0900, 0x097F), (0x0E00, 0x0E5B), (0x1100, 0x11FF), (0x3040, 0x30FF),
    (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x0300, 0x036F), (0x2000, 0x206F), (0x2190, 0x22FF),
    (0x1F300, 0x1F64F), (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF), (0xFE00, 0xFE0F), (0x2460, 0x24FF),
    (0x0660, 0x0669), (0x2150, 0x218B), (0xFF00, 0xFFEF), (0xE000, 0xE0FF), (0x0000, 0x00FF),
]
WORDS = ("the quick brown fox jumps over lazy dogs while seven wizards don't we'll they've I'm "
         "can't SHE'S it's l'été naïve façade Straße Москва привет Ελλάδα مرحبا שלום नमस्ते สวัสดี "
         "こんにちは 世界 안녕하세요 transformer attention quantization 12345 3.14159 1e-9 2026-01-31 "
         "0xDEADBEEF user@example.com https://example.com/a?b=c&d=%20 U.S.A. e.g. --- ... !!! ?!").split()
CODE = ["def f(x):\n    return x ** 2  # square\n\n", "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i];\n}\n",
        "SELECT * FROM t WHERE a >= 10 AND b <> 'x''y';\n", "{\"key\": [1, 2.5, null, true], \"s\": \"\\n\"}\n",
        "#include <vector>\r\nint main() { return 0; }\r\n", "<div class=\"a b\">&nbsp;text</div>\n",
        "x = np.zeros((3, 4), dtype=np.float32)[:, ::-1]\n", "\\begin{equation} \\alpha^2_{i,j} \\end{equation}\n"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️", "1️⃣", "🤷🏿‍♀️"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", " \n", "\n ", "\r\n", "\u00a0", "\u3000", "\u2028", "        ", "\t\t\n  "]


def mixed_text(size: int, seed: int, extra: list[str]) -> str:
    """About `size` bytes of words, code, many scripts, emoji, white-space runs and special tokens."""
    rng = random.Random(seed)
    parts, total = [], 0
    while total < size:
        kind = rng.random()
        if kind < 0.40:
            part = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))
        elif kind < 0.50:
            part = rng.choice(CODE)
        elif kind < 0.75:
            low, high = rng.choice(SCRIPTS)
            part = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 16)))
        elif kind < 0.82:
            part = rng.choice(EMOJI) * rng.randint(1, 3)
        elif kind < 0.86:
            part = str(rng.randint(0, 10 ** rng.randint(1, 20)))
        elif kind < 0.88 and extra:
            part = rng.choice(extra)
        else:
            part = rng.choice(SPACES) * rng.randint(1, 6)
        parts.append(part)
        parts.append(rng.choice(SPACES) if rng.random() < 0.6 else "")
        total += len(part.encode()) + 1
    return "".join(parts)


def run(binary: str, args: list[str], data: bytes) -> bytes:
    return subprocess.run([binary, *args], input=data, stdout=subprocess.PIPE, check=True).stdout


def compare(binary: str, folder: pathlib.Path, text: str, data: bytes, name: str) -> int:
    """Prints one line; returns the number of differences found."""
    path = str(folder / "tokenizer.json")
    reference = tokenizers.Tokenizer.from_file(path)
    failures = 0
    for special in (True, False):
        want = reference.encode(text, add_special_tokens=special).ids
        args = ["tokenize", path, "--ids"] + ([] if special else ["--no-special"])
        got = [int(word) for word in run(binary, args, data).split()]
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            print(f"  DIFFERS at token {at}: got {got[at:at + 6]} want {want[at:at + 6]} "
                  f"text {reference.decode(want[max(0, at - 4):at + 8])!r}")
            failures += 1
    want_text = reference.decode(want, skip_special_tokens=False)
    got_text = run(binary, ["detokenize", path, "--ids"], " ".join(map(str, want)).encode()).decode()
    if got_text.rstrip("\n") != want_text.rstrip("\n"):
        print("  DIFFERS: detokenize")
        failures += 1
    print(f"{folder.name} {name}: {len(data)} bytes, {len(want)} tokens, {'ok' if not failures else 'FAILED'}")
    return failures


def default_models() -> list[pathlib.Path]:
    models = pathlib.Path(os.environ.get("OCTAVO_MODELS", "~/.cache/octavo-models")).expanduser()
    here = pathlib.Path(__file__).resolve().parents[2]
    shared = pathlib.Path(os.environ.get("OCTAVO_SHARED", here.parent / "shared"))
    found = sorted(models.glob("hf/*/tokenizer.json")) + sorted(shared.glob("tokenizers/*/tokenizer.json"))
    return [path.parent for path in found]


def unigram_folders(scratch: str) -> list[pathlib.Path]:
    """Trains SentencePiece Unigram models and stores them as tokenizers does (Precompiled normalizer, Metaspace)."""
    root = pathlib.Path(__file__).resolve().parents[2]
    text = pathlib.Path(scratch) / "train.txt"
    text.write_text("\n".join(path.read_text() for path in sorted(root.glob("docs/*.md"))) + mixed_text(300_000, 9, []))
    # from_spm imports the module under the name that it has in SentencePiece's sources.
    sys.modules["sentencepiece_model_pb2"] = sentencepiece.sentencepiece_model_pb2
    folders = []
    for name, byte_fallback in (("unigram", False), ("unigram-byte-fallback", True)):
        folder = pathlib.Path(scratch) / name
        folder.mkdir()
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(folder / "spm"), model_type="unigram", vocab_size=3000,
            character_coverage=0.98, max_sentence_length=100_000, byte_fallback=byte_fallback, minloglevel=2)
        tokenizers.SentencePieceUnigramTokenizer.from_spm(str(folder / "spm.model")).save(str(folder / "tokenizer.json"))
        folders.append(folder)
    return folders


def main() -> int:
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        given = [common.as_folder(binary, path, scratch) for path in sys.argv[2:]]
        return compare_all(binary, given + default_models() + unigram_folders(scratch))


def compare_all(binary: str, folders: list[pathlib.Path]) -> int:
    if not folders:
        print("no tokenizers found; set OCTAVO_MODELS or OCTAVO_SHARED", file=sys.stderr)
        return 77
    failures = 0
    for folder in folders:
        added = [t["content"] for t in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]]
        text = mixed_text(1_100_000, 1, added)
        failures += compare(binary, folder, text, text.encode(), "mixed text")
        rng = random.Random(2)
        damaged = bytearray(mixed_text(200_000, 3, added).encode())
        for _ in range(2000):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        failures += compare(binary, folder, damaged.decode("utf-8", errors="replace"), bytes(damaged), "damaged UTF-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
