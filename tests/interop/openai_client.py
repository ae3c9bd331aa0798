# SPDX-License-Identifier: Apache-2.0
"""The openai Python client against `octavo serve` on a real model.

usage: openai_client.py OCTAVO MODEL
"""
import concurrent.futures
import json
import math
import os
import sys
import time

import openai

from common import Serving



class OpenAiServing(Serving):
    def __init__(self, program, model, *flags):
        super().__init__(program, model, *flags)
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=300)


def completion(serving):
    reply = serving.client.completions.create(model=serving.model, prompt="The capital of France is",
                                              max_tokens=8, temperature=0)
    assert reply.choices[0].text and reply.usage.completion_tokens <= 8
    ids = serving.client.completions.create(
        model=serving.model, prompt=[[1, 2, 3], [4, 5]], max_tokens=2, temperature=0, n=1)
    assert [c.index for c in ids.choices] == [0, 1]


def echo_scores_the_prompt(serving):
    """What lm-eval's local-completions asks for."""
    reply = serving.client.completions.create(model=serving.model, prompt="one two three four", max_tokens=1,
                                              temperature=0, echo=True, logprobs=1)
    scores = reply.choices[0].logprobs
    assert scores.token_logprobs[0] is None and all(v <= 0 for v in scores.token_logprobs[1:])
    assert reply.choices[0].text.startswith("one two three four")
    assert "".join(scores.tokens) == reply.choices[0].text
    for position, token in enumerate(scores.tokens[1:], 1):
        assert token in scores.top_logprobs[position]


def chat(serving):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
    whole = serving.client.chat.completions.create(model=serving.model, messages=messages, max_tokens=24,
                                                   temperature=0, logprobs=True, top_logprobs=3)
    text = whole.choices[0].message.content
    assert text and whole.choices[0].finish_reason in ("stop", "length")
    for position in whole.choices[0].logprobs.content:
        assert len(position.top_logprobs) == 3 and position.logprob <= 1e-6
    streamed, usage = "", None
    for chunk in serving.client.chat.completions.create(model=serving.model, messages=messages, max_tokens=24,
                                                        temperature=0, stream=True,
                                                        stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            streamed += choice.delta.content or ""
    assert streamed == text, (streamed, text)
    assert usage.completion_tokens == whole.usage.completion_tokens


def seeds_and_choices(serving):
    def sample(**extra):
        reply = serving.client.chat.completions.create(
            model=serving.model, messages=[{"role": "user", "content": "A word?"}], temperature=1.2, max_tokens=12,
            **extra)
        return [c.message.content for c in reply.choices]
    assert sample(seed=5, n=3) == sample(seed=5, n=3)
    assert len(set(sample(seed=5, n=4))) > 1


def stops(serving):
    reply = serving.client.completions.create(model=serving.model, prompt="1, 2, 3, 4, 5,", max_tokens=40,
                                              temperature=0, stop=[" 8"])
    assert " 8" not in reply.choices[0].text


def json_schema(serving):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                               "age": {"type": "integer", "minimum": 0, "maximum": 120}},
              "required": ["name", "age"], "additionalProperties": False}
    reply = serving.client.chat.completions.create(
        model=serving.model, messages=[{"role": "user", "content": "Invent a person, as JSON."}], max_tokens=80,
        temperature=0, response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": schema}})
    person = json.loads(reply.choices[0].message.content)
    assert set(person) == {"name", "age"} and isinstance(person["age"], int)


def tools(serving):
    tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city",
                                             "parameters": {"type": "object", "properties": {
                                                 "city": {"type": "string", "maxLength": 20}}, "required": ["city"],
                                                 "additionalProperties": False}}}
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = serving.client.chat.completions.create(
        model=serving.model, messages=messages, tools=[tool], max_tokens=80, temperature=0,
        tool_choice={"type": "function", "function": {"name": "get_weather"}})
    call = reply.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    messages += [reply.choices[0].message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"}]
    follow = serving.client.chat.completions.create(model=serving.model, messages=messages, max_tokens=20,
                                                    temperature=0, tools=[tool], tool_choice="none")
    assert follow.choices[0].message.content is not None


def embeddings(serving):
    # Unasked, the client has base64 sent and decodes it.
    for options in ({"encoding_format": "float"}, {}):
        reply = serving.client.embeddings.create(model=serving.model, input=["a cat", "a dog"], **options)
        for item in reply.data:
            assert abs(math.sqrt(sum(v * v for v in item.embedding)) - 1) < 1e-3


def errors(serving):
    def refused(kind, **fields):
        body = {"model": serving.model, "messages": [{"role": "user", "content": "x"}], **fields}
        try:
            serving.client.chat.completions.create(**body)
        except kind as error:
            return error
        raise AssertionError(f"{fields} was accepted")
    assert refused(openai.BadRequestError, temperature=-1).param == "temperature"
    assert refused(openai.NotFoundError, model="gpt-4").code == "model_not_found"
    refused(openai.BadRequestError, messages=[])
    refused(openai.BadRequestError, n=10**9)
    refused(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 200000}])


def same_bits_alone_and_together(serving):
    """64 requests, greedy and seeded, alone and at once: the same tokens and logprobs, bit for bit."""
    def ask(i):
        reply = serving.client.completions.create(
            model=serving.model, prompt=f"Story number {i}:" + " and then" * (i % 7), max_tokens=16,
            temperature=0 if i % 2 else 0.9, seed=i, logprobs=2)
        choice = reply.choices[0]
        return choice.text, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs
    start = time.time()
    alone = [ask(i) for i in range(64)]
    serial = time.time() - start
    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        together = list(pool.map(ask, range(64)))
    concurrent_s = time.time() - start
    different = [i for i in range(64) if alone[i] != together[i]]
    assert not different, different
    print(f"  64 requests: {serial:.2f} s one by one, {concurrent_s:.2f} s together, "
          f"{serial / concurrent_s:.1f} times as fast")


def disconnects_free_everything(serving):
    for _ in range(20):
        stream = serving.client.completions.create(model=serving.model, prompt="Go on:", max_tokens=500,
                                                   stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    deadline = time.time() + 10
    while serving.get("/octavo/status")["stats"]["kv_blocks_used"]:
        assert time.time() < deadline, "blocks are still held"
        time.sleep(0.05)


def main():
    program, model = sys.argv[1], sys.argv[2]
    serving = OpenAiServing(program, model, "--max-model-len", "2048", "--kv-cache-memory-bytes", "512MiB")
    failed = 0
    try:
        for test in (completion, echo_scores_the_prompt, chat, seeds_and_choices, stops, json_schema, tools,
                     embeddings, errors, same_bits_alone_and_together, disconnects_free_everything):
            try:
                test(serving)
                print("passed", test.__name__, flush=True)
            except Exception as error:  # Each gets its verdict.
                failed += 1
                print(f"FAILED {test.__name__}: {type(error).__name__}: {str(error)[:500]}", flush=True)
        serving.stop()
    finally:
        serving.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.pop("OPENAI_API_KEY", None)
    sys.exit(main())
