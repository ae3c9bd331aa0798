#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`octavo serve` on a tiny model under random clients, with every block's bookkeeping verified after each step.

Clients stream and do not stream, ask for choices, beams, schemas and long prompts, send nonsense, and go away in
the middle. Afterwards no block may be in use, memory must be flat and the idle server must use no CPU. Then short
requests over many connections at once: none may be lost. Prints a Markdown table.
usage: soak_test.py OCTAVO [--model FOLDER] [--minutes N] [--connections N] [--requests N] [--seed N]
"""
import argparse
import asyncio
import collections
import json
import os
import random
import sys
import tempfile
import time

from tiny_model import write_tiny_model

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../interop"))
from common import Serving  # noqa: E402

CLIENTS = 24
MAX_UNACCOUNTED = 100 << 20
TICKS = os.sysconf("SC_CLK_TCK")
SCHEMA = {"type": "object", "required": ["a"], "additionalProperties": False,
          "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}}
NONSENSE = [{"temperature": -1}, {"n": 10**9}, {"top_p": "x"}, {"max_tokens": -5}, {"prompt": None}, {"stop": [""]},
            {"logit_bias": {"99999": 1}}, {"response_format": {"type": "json_schema"}}, {"prompt": [[-1]]},
            {"prompt": [1] * 100_000}]


class Server(Serving):
    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stats(self):
        return self.get("/octavo/status")["stats"]

    def unaccounted_bytes(self):
        """Resident memory beyond what the server says it needs for weights, KV cache and arena."""
        model = self.get("/octavo/status")["model"]
        return self.resident_bytes() - sum(model[f"{part}_bytes"] for part in ("weight", "kv_cache", "arena"))


def request_bytes(method, path, body, connection="close"):
    text = b"" if body is None else json.dumps(body).encode()
    return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n").encode() + text


async def exchange(server, method, path, body, leave=None):
    """Returns status and body, or (0, b"") when `leave` seconds passed and the client left."""
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        writer.write(request_bytes(method, path, body))
        try:
            data = await asyncio.wait_for(reader.read(-1), leave if leave is not None else 120)
        except asyncio.TimeoutError:
            assert leave is not None, "no reply within two minutes"
            return 0, b""
    finally:
        writer.transport.abort() if leave is not None else writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), rest


def random_request(rng):
    """Body, path, whether it is sound, and after how many seconds the client leaves (None: stays)."""
    common = "Once upon a time there was a machine. " * rng.choice([0, 1, 4])
    body = {"prompt": common + "x" * rng.randrange(1, 60), "max_tokens": rng.randrange(1, 60), "seed": rng.randrange(99),
            "temperature": rng.choice([0, 1]), "stream": rng.random() < 0.5, "ignore_eos": True}
    path, sound = "/v1/completions", True
    kind = rng.randrange(10)
    if kind == 0:
        body.update(prompt=[rng.randrange(256) for _ in range(rng.randrange(800, 1800))], max_tokens=20)
    elif kind == 1:
        body.update(n=4)
    elif kind == 2:
        body.update(n=3, use_beam_search=True, stream=False, temperature=0)
        del body["ignore_eos"]
    elif kind == 3:
        body.update(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}})
        del body["ignore_eos"]
    elif kind == 4:
        body.update(echo=True, logprobs=3, stream=False)
    elif kind == 5:
        body.update(rng.choice(NONSENSE))
        sound = False
    elif kind == 6:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    leave = rng.random() ** 3 if sound and rng.random() < 0.4 else None
    return body, path, sound, leave


async def client(server, rng, until, counts, failures):
    while time.time() < until and len(failures) < 10:
        body, path, sound, leave = random_request(rng)
        try:
            status, reply = await exchange(server, "POST", path, body, leave)
        except Exception as error:  # a lost reply is a failure, whatever it looks like from here
            failures.append(f"{type(error).__name__} {error}: {str(body)[:200]}")
            continue
        if status == 0:
            counts["left by the client"] += 1
        elif status == 429:
            counts["refused, queue full"] += 1
        elif not sound:
            counts["nonsense refused"] += 1
            if status not in (400, 413, 422):
                failures.append(f"status {status} for nonsense: {str(body)[:200]}")
        else:
            counts["streamed" if body.get("stream") else "answered whole"] += 1
            if status != 200 or (body.get("stream") and b"data: [DONE]" not in reply):
                failures.append(f"status {status}, {reply[-200:]!r}: {str(body)[:200]}")


async def empty(server, failures):
    """Waits until nothing runs; the blocks still in use then."""
    deadline = time.time() + 60
    while True:
        stats = server.stats()
        if not (stats["kv_blocks_used"] or stats["num_running"] or stats["num_waiting"]):
            return 0
        if time.time() > deadline:
            failures.append(f"not empty after a minute: {stats}")
            return stats["kv_blocks_used"]
        await asyncio.sleep(0.1)


async def chaos(server, args, failures):
    counts = collections.Counter()
    # Memory is compared with what a tenth of the run has left.
    for share, seed in ((0.1, args.seed), (0.9, args.seed + 1)):
        before = server.resident_bytes()
        until = time.time() + 60 * args.minutes * share
        await asyncio.gather(*(client(server, random.Random(f"{seed} {i}"), until, counts, failures)
                               for i in range(CLIENTS)))
        blocks = await empty(server, failures)
    growth = server.resident_bytes() - before
    begin = server.cpu_seconds()
    await asyncio.sleep(2)
    idle = (server.cpu_seconds() - begin) / 2
    stats = server.stats()
    rows = [(f"requests {what}", count) for what, count in sorted(counts.items())]
    rows += [("preemptions", stats["num_preemptions"]), ("blocks in use afterwards", blocks),
             ("memory growth, MiB", f"{growth / 2**20:.1f}"), ("idle CPU", f"{100 * idle:.1f} %")]
    if growth > 32 << 20:
        failures.append(f"memory grew by {growth} bytes")
    if idle > 0.03:
        failures.append(f"idle CPU {100 * idle:.1f} %")
    return rows


async def short_requests(server, count):
    """How many of `count` requests over one connection were answered."""
    reader, writer = await asyncio.open_connection(*server.address)
    answered = 0
    for i in range(count):
        writer.write(request_bytes("POST", "/v1/completions", {"prompt": f"{i}", "max_tokens": 1}, "keep-alive"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 300)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        reply = await reader.readexactly(int(lengths[0].split(b":")[1]))
        answered += head.startswith(b"HTTP/1.1 200") and b'"choices"' in reply
    writer.close()
    return answered


async def flood(server, args, failures):
    before = server.resident_bytes()
    share = args.requests // args.connections
    answered = sum(await asyncio.gather(*(short_requests(server, share) for _ in range(args.connections))))
    await empty(server, failures)
    growth = server.resident_bytes() - before
    lost = share * args.connections - answered
    if lost:
        failures.append(f"{lost} short requests lost")
    if growth > 64 << 20:
        failures.append(f"memory grew by {growth} bytes over {args.connections} connections")
    return [(f"short requests over {args.connections} connections", share * args.connections), ("of them lost", lost),
            ("memory growth, MiB", f"{growth / 2**20:.1f}")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("octavo")
    parser.add_argument("--model", help="instead of a tiny random one")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as tiny:
        model = args.model or tiny
        if not args.model:
            write_tiny_model(tiny)
        # A pool that holds two sequences of the longest length: preemption is the rule.
        server = Server(args.octavo, model, "--check-integrity", "--num-kv-blocks", 260, "--max-num-seqs", 16,
                        "--max-num-queued-reqs", 2 * args.connections, "--max-connections", args.connections + 100)
        try:
            rows = asyncio.run(chaos(server, args, failures))
            rows += asyncio.run(flood(server, args, failures))
            beyond = server.unaccounted_bytes()
            rows.append(("memory beyond weights, KV cache and arena, MiB", f"{beyond / 2**20:.1f}"))
            if beyond > MAX_UNACCOUNTED:
                failures.append(f"{beyond} bytes of memory beyond weights, KV cache and arena")
            server.stop()
        finally:
            server.kill()
    print(f"| {args.minutes:g} minutes of {CLIENTS} random clients, integrity checked after every step | |\n|---|---:|")
    for what, value in rows:
        print(f"| {what} | {value} |")
    for failure in failures[:10]:
        print("FAILED", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
