# SPDX-License-Identifier: Apache-2.0
"""LangChain's ChatOpenAI against `octavo serve`, as its users set it up: only base_url is changed.

usage: langchain_client.py OCTAVO MODEL
"""
import common


def invoke(chat, checks):
    reply = chat.invoke([("system", "You answer briefly."), ("human", "Name a colour.")])
    usage = reply.usage_metadata
    checks.expect(bool(reply.content), f"invoke: {reply.content[:40]!r}")
    checks.expect(usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"], f"usage: {usage['total_tokens']}")
    checks.expect(reply.response_metadata["finish_reason"] in ("stop", "length"), "finish_reason")


def stream(chat, checks):
    messages = [("human", "Count to five.")]
    pieces = [piece.content for piece in chat.stream(messages)]
    checks.expect(len(pieces) > 2, f"stream: {len(pieces)} pieces")
    checks.expect("".join(pieces) == chat.invoke(messages).content, "streamed text equals the whole one")


def batch(chat, checks):
    prompts = [f"What is {i} + {i}?" for i in range(6)]
    checks.expect([r.content for r in chat.batch(prompts)] == [chat.invoke(p).content for p in prompts],
                  "batch equals one by one")


def structured(chat, checks):
    schema = {"title": "Person", "type": "object", "additionalProperties": False, "required": ["name", "age"],
              "properties": {"name": {"type": "string", "maxLength": 12},
                             "age": {"type": "integer", "minimum": 0, "maximum": 120}}}
    person = chat.with_structured_output(schema, method="json_schema").invoke("Make up a person.")
    checks.expect(isinstance(person["name"], str) and 0 <= person["age"] <= 120, f"structured output: {person}")


def tools(chat, checks):
    weather = {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a city",
        "parameters": {"type": "object", "required": ["city"], "additionalProperties": False,
                       "properties": {"city": {"type": "string", "maxLength": 20}}}}}
    reply = chat.bind_tools([weather], tool_choice="get_weather").invoke("What is the weather in Paris?")
    checks.expect([call["name"] for call in reply.tool_calls] == ["get_weather"], f"tool call: {reply.tool_calls}")


def errors(chat, checks):
    try:
        chat.bind(temperature=-1).invoke("x")
        checks.expect(False, "temperature -1 is refused")
    except Exception as error:  # openai's class, re-raised by LangChain
        checks.expect("temperature" in str(error), f"temperature -1 is refused: {type(error).__name__}")


def body(octavo, model, _, checks):
    from langchain_openai import ChatOpenAI
    with common.Serving(octavo, model, "--max-model-len", 2048, "--kv-cache-memory-bytes", "256MiB") as serving:
        chat = ChatOpenAI(model=serving.model, base_url=serving.url + "/v1", api_key="none", temperature=0,
                          max_tokens=60, max_retries=0, timeout=300)
        for test in (invoke, stream, batch, structured, tools, errors):
            test(chat, checks)
        serving.stop()


if __name__ == "__main__":
    common.main(body)
