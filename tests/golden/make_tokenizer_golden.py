#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of the tokenizer layer into tests/golden/tokenizer/.

Needs: tokenizers, jinja2. Run it again only when cases are added; its output is committed.
 - chat_templates.json: each template of templates/ rendered by Jinja2 on the conversations below,
   set up as transformers does (or the fact that it fails);
 - small_tokenizers.json: small tokenizers trained here, one per pipeline, with ids and decodings.
"""
import datetime
import json
import os
import pathlib
import random

import jinja2
import jinja2.ext
import jinja2.sandbox
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

HERE = pathlib.Path(__file__).resolve().parent / "tokenizer"
NOW = 1767225600  # 2026-01-01 00:00 UTC

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city <now> & \"here\"",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Stadt, z. B. Zürich"},
        "days": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["city"]}}}
ADD = {"type": "function", "function": {
    "name": "add", "description": "Add numbers", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "  What is 2+2? 你好 😀\n"}
SYSTEM = {"role": "system", "content": "You are helpful."}
ANSWER = {"role": "assistant", "content": "<think>\nAdd.\n</think>\n\nIt is 4. "}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "abcdefghi", "type": "function",
     "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "exact": 1.5, "x": None}}}]}
TEXT_CALL = dict(CALL, content="")
TOOL = {"role": "tool", "tool_call_id": "abcdefghi", "content": "{\"temp\": 21.5}"}

CONVERSATIONS = [
    {"messages": [USER]},
    {"messages": [USER], "add_generation_prompt": False},
    {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "And 3+3?"}]},
    {"messages": [USER, ANSWER]},
    {"messages": [SYSTEM, USER], "tools": [WEATHER, ADD]},
    {"messages": [USER, TEXT_CALL, TOOL, {"role": "assistant", "content": "21.5 degrees"}], "tools": [WEATHER]},
    {"messages": [USER, CALL, TOOL, TOOL], "tools": [WEATHER, ADD]},
    {"messages": [USER, USER]},
    {"messages": [USER], "documents": [{"title": "t1", "text": "first"}, {"title": "t2", "text": "second\nline"}]},
    {"messages": [USER], "tools": [ADD], "documents": [{"title": "t1", "text": "first"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}]}]},
    {"messages": [SYSTEM, USER, dict(ANSWER, reasoning_content="Because.")], "variables": {"enable_thinking": False}},
    {"messages": [USER], "variables": {"enable_thinking": False, "date_string": "1 Jan 2026", "controls": {"length": "short"}}},
    {"messages": [USER], "tools": [ADD], "variables": {"tools_in_user_message": False, "builtin_tools": ["brave_search", "code_interpreter"]}},
    {"messages": []},
]


class Generation(jinja2.ext.Extension):
    """{% generation %}: renders its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment() -> jinja2.Environment:
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def model_templates() -> dict[str, str]:
    """The templates of the real models, when they are on this machine."""
    models_dir = pathlib.Path(os.environ.get("OCTAVO_MODELS", "~/.cache/octavo-models")).expanduser()
    found = {}
    for path in sorted(models_dir.glob("hf/*/tokenizer_config.json")):
        template = json.loads(path.read_text()).get("chat_template")
        if isinstance(template, str) and template not in found.values():
            found[path.parent.name] = template
    return found


def chat_templates() -> list[dict]:
    env = environment()
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    sources = {p.stem: p.read_bytes().decode() for p in sorted(HERE.glob("templates/*.jinja"))}
    result = []
    for name, source in list(sources.items()) + list(model_templates().items()):
        template = env.from_string(source)
        cases = []
        for index, case in enumerate(CONVERSATIONS):
            variables = {"messages": case["messages"], "tools": case.get("tools"),
                         "documents": case.get("documents"), "null_value": None,
                         "add_generation_prompt": case.get("add_generation_prompt", True),
                         **tokens, **case.get("variables", {})}
            try:
                cases.append({"conversation": index, "output": template.render(**variables)})
            except Exception:  # noqa: BLE001: any failure of the template is a case of its own
                cases.append({"conversation": index, "output": None})
        entry = {"name": name, "cases": cases}
        if name not in sources:
            entry["source"] = source
        result.append(entry)
    return result


CORPUS = ("The quick brown fox jumps over the lazy dog. Don't stop; it's 12345 times 6.78! "
          "def main(argv):\n    return [x ** 2 for x in range(10)]\n\n"
          "Zürich, naïve café, Ελλάδα και Москва. 你好世界 こんにちは 안녕하세요 😀👍🏽 \u00a0\u3000 end\r\n").split("|")


def sample_texts() -> list[str]:
    rng = random.Random(7)
    alphabet = list("abc ABC 019.,!?'-_\n\t\r<>/éüßñàİΣς你好世界のカ한글😀👩‍🚀\u0301\u00a0\u2028\u3000▁Ġ")
    texts = ["", " ", "a", " hello", "hello ", "Hello  world\n\n\nfoo", "don't WE'LL I'd ſ'S", "<s>x</s> <s> y",
             "  <mask>  z<mask>w", "tab\tand\nnewline\r\n", "e\u0301 é ﬁ ① Å", "   ", "\n \n", "1234567 89",
             "Ελλάδα Москва", "你好，世界。", "😀👍🏽👩‍👩‍👧", "a<0x41>b", "▁▁x ▁", "İstanbul STRASSE", "x" * 40, CORPUS[0]]
    for _ in range(40):
        texts.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 30))))
    return texts


def train(tokenizer: Tokenizer, kind: str, **options) -> Tokenizer:
    """Trains on the corpus, so that every pipeline has a vocabulary of a few hundred tokens."""
    special = ["<unk>", "<s>", "</s>", "<mask>"]
    common = {"special_tokens": special, "show_progress": False, **options}
    trainer = {"bpe": trainers.BpeTrainer, "unigram": trainers.UnigramTrainer,
               "wordpiece": trainers.WordPieceTrainer}[kind](**common)
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer


def byte_level(split: str | None, **bpe) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**bpe))
    byte = pre_tokenizers.ByteLevel(add_prefix_space=split is None, use_regex=split is None)
    tokenizer.pre_tokenizer = byte if split is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), "isolated"), byte])
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, "bpe", vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CUSTOM = r"\p{Lu}?\p{Ll}+|\p{Lo}+|\d{1,2}|[^\s\w]+|\s+|\w"


def small_tokenizers() -> dict[str, Tokenizer]:
    made = {"gpt2": byte_level(None), "llama3": byte_level(LLAMA3), "custom_regex": byte_level(CUSTOM)}
    made["llama3"].post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A <s> $B", special_tokens=[("<s>", 1), ("</s>", 2)])
    made["gpt2"].add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    made["gpt2"].add_tokens([AddedToken("foo", single_word=True), AddedToken("é", normalized=True)])
    made["gpt2"].post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))

    spm = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    spm.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    train(spm, "bpe", vocab_size=500, initial_alphabet=[])
    data = json.loads(spm.to_str())
    for byte in range(256):
        data["model"]["vocab"][f"<0x{byte:02X}>"] = len(data["model"]["vocab"])
    for char in "世😀ü":
        data["model"]["vocab"].pop(char, None)
    keep = data["model"]["vocab"]
    data["model"]["merges"] = [m for m in data["model"]["merges"] if m[0] in keep and m[1] in keep]
    spm = Tokenizer.from_str(json.dumps(data))
    spm.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    made["llama2"] = spm

    data = json.loads(spm.to_str())
    for byte in range(256):
        del data["model"]["vocab"][f"<0x{byte:02X}>"]
    unk = Tokenizer.from_str(json.dumps(data))
    unk.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents()])
    unk.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    unk.decoder = decoders.Metaspace(prepend_scheme="first")
    made["metaspace_unk"] = unk

    gemma = Tokenizer.from_str(spm.to_str())
    gemma.normalizer = normalizers.Replace(" ", "▁")
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made["gemma"] = gemma

    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    made["unigram"] = train(unigram, "unigram", vocab_size=300, unk_token="<unk>")

    bert = Tokenizer(models.WordPiece(unk_token="<unk>"))
    bert.normalizer = normalizers.BertNormalizer(lowercase=True)
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.decoder = decoders.WordPiece()
    bert = train(bert, "wordpiece", vocab_size=300)
    bert.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    made["bert"] = bert

    words = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    words.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Strip()])
    words.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.CharDelimiterSplit("_")])
    words.decoder = decoders.BPEDecoder("</w>")
    made["word_suffix"] = train(words, "bpe", vocab_size=400, end_of_word_suffix="</w>")
    return made


def tokenizer_cases() -> dict:
    texts = sample_texts()
    result = []
    for name, tokenizer in small_tokenizers().items():
        entry = {"name": name, "tokenizer": json.loads(tokenizer.to_str()), "ids": [], "decoded": []}
        for text in texts:
            ids = tokenizer.encode(text).ids
            entry["ids"].append(ids)
            entry["decoded"].append(tokenizer.decode(ids, skip_special_tokens=True))
        result.append(entry)
    return {"texts": texts, "tokenizers": result}


def write(name: str, data) -> None:
    (HERE / name).write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def main() -> None:
    write("chat_templates.json", {"now": NOW, "conversations": CONVERSATIONS, "templates": chat_templates()})
    write("small_tokenizers.json", tokenizer_cases())


if __name__ == "__main__":
    main()
