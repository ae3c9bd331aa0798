#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What hostile and careless clients send, one test per class: refused cheaply, and never the end.

After every test the server must still answer, hold no request and no memory to speak of.
usage: hostile_test.py FAKE_SERVER
"""
import concurrent.futures
import json
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

from server_process import Server, read_reply, status_of

CHAT = {"messages": [{"role": "user", "content": "SCRIPT:" + "x" * 3000}]}


def raw(server, data, timeout=20):
    """Sends bytes as they are and returns the reply's status; 0 when it just closed."""
    with server.connect(timeout) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return status_of(read_reply(sock))


def eventually(condition, seconds=10):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "did not come true in time"
        time.sleep(0.01)


def running(server):
    _, status = server.get("/octavo/status")
    return status["stats"]["num_running"] + status["stats"]["num_waiting"]


def request_bytes(body, path="/v1/chat/completions", extra=""):
    text = json.dumps(body)
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n{extra}\r\n{text}").encode()


def test_parser_overflows(server):
    for data, wanted in (
            (b"\x00" * 100000, {400, 431}), (b"\xff\xfe" * 50000, {400, 431}),
            (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", {431}),
            (b"A" * 100000, {400, 431}), (b"GET / HTTP/9.9\r\n\r\n", {400, 505}),
            (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", {400}),
            (b"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", {400}),
            (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400}),
            (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx", {400, 413}),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n", {431}),
            (b"GET / HTTP/1.1\r\nCookie: " + b"c" * 1000000 + b"\r\n\r\n", {431})):
        status = raw(server, data)
        assert status in wanted, (data[:60], status)


def test_request_smuggling(server):
    body = b"0\r\n\r\nGET /version HTTP/1.1\r\n\r\n"
    for headers in (b"Content-Length: 28\r\nTransfer-Encoding: chunked\r\n",
                    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
                    b"Content-Length: 28\r\nContent-Length: 5\r\n"):
        status = raw(server, b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body)
        assert status in (400, 501), (headers, status)


def test_huge_bodies_are_refused_unread(server):
    before = server.resident_bytes()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
    assert raw(server, head) == 413
    assert raw(server, head + b"x" * (20 << 20)) == 413
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    chunked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert raw(server, chunked + chunk * 20) == 413
    expect = head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    assert raw(server, expect) == 413
    assert server.resident_bytes() - before < 64 << 20


def test_expect_continue(server):
    text = json.dumps({"prompt": "SCRIPT:ok"}).encode()
    with server.connect() as sock:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(text))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue")
        sock.sendall(text)
        assert status_of(read_reply(sock)) == 200


def test_slow_loris(server):
    """Headers that trickle in are cut off in time, without keeping others out."""
    socks = [server.connect() for _ in range(50)]
    start = time.time()
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    open_socks = list(socks)
    while open_socks and time.time() - start < 10:
        for sock in list(open_socks):
            try:
                sock.sendall(b"X")
                sock.settimeout(0.001)
                if sock.recv(1) == b"":
                    open_socks.remove(sock)
            except socket.timeout:
                pass
            except OSError:
                open_socks.remove(sock)
        assert server.get("/version")[0] == 200
        time.sleep(0.1)
    assert not open_socks, f"{len(open_socks)} trickling connections still open"
    assert time.time() - start < 6  # --header-ms 1500


def test_slow_reader(server):
    """A client that asks for much and reads nothing is dropped, and its request ends."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", server.port))
        body = {"prompt": ["SCRIPT:" + "x" * 3500] * 64, "stream": True, "max_tokens": 3500,
                "logprobs": 20}
        sock.sendall(request_bytes(body, "/v1/completions"))
        eventually(lambda: running(server) > 0)
        eventually(lambda: running(server) == 0, 30)
        total = 0
        try:
            while piece := sock.recv(1 << 16):
                total += len(piece)
                assert b"[DONE]" not in piece
        except ConnectionResetError:
            pass
        assert total < 64 << 20


def test_disconnects_abort(server):
    for stream in (False, True):
        for wait in (0, 0.02):
            sock = server.connect()
            sock.sendall(request_bytes({**CHAT, "stream": stream}))
            eventually(lambda: running(server) > 0)
            time.sleep(wait)
            sock.close()
            start = time.time()
            eventually(lambda: running(server) == 0)
            assert time.time() - start < 1, "a request outlived its client"


def test_disconnects_in_the_queue(server):
    socks = []
    for _ in range(20):
        sock = server.connect()
        sock.sendall(request_bytes(CHAT))
        socks.append(sock)
    eventually(lambda: running(server) == 20)
    for sock in socks:
        sock.close()
    eventually(lambda: running(server) == 0)


def test_random_disconnects(server):
    rng = random.Random(7)

    def client(seed):
        own = random.Random(seed)
        for _ in range(8):
            with server.connect() as sock:
                body = {**CHAT, "stream": own.random() < 0.5, "n": own.choice([1, 1, 3])}
                data = request_bytes(body)
                cut = own.choice([len(data), len(data), own.randrange(1, len(data))])
                sock.sendall(data[:cut])
                time.sleep(own.random() * 0.03)
                if own.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(client, [rng.random() for _ in range(16)]))
    eventually(lambda: running(server) == 0)


def test_deep_and_broken_json(server):
    for text in ("[" * 100000, '{"a":' * 100000, '{"prompt":"x","a":' + "[" * 100 + "]" * 100 + "}",
                 "{", "nul", "{}x", '{"prompt":"\\ud800"}', '{"prompt":NaN}', '{"prompt":Infinity}',
                 "[1,2]", "null", '"x"', "", '{"prompt":1e400}', '{"prompt":"x","n":1' + "0" * 400 + "}"):
        status, _, body = server.request("POST", "/v1/completions", text)
        assert status in (400, 413), (text[:40], status)
        assert json.loads(body)["error"]["message"]
    status, _, _ = server.request("POST", "/v1/completions", '{"prompt":[' + "1," * 5_000_000 + "1]}")
    assert status == 413


def test_bad_utf8(server):
    for data in (b'{"prompt":"\xff\xfe"}', b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}',
                 b'{"prompt":"\xf5\x80\x80\x80"}', b'{"pro\xffmpt":"x"}'):
        assert server.request("POST", "/v1/completions", data)[0] == 400, data


def test_numeric_extremes(server):
    """Every numeric field with negative, zero, 2^31, 2^63, NaN, 1e308 and wrong types: 200 or a clean 400."""
    values = ["-1", "0", "2147483648", "9223372036854775807", "9223372036854775808",
              "-9223372036854775808", "1e308", "-1e308", "1e-308", "0.5", '"7"', "true", "[]", "{}",
              '"NaN"', "1000000000"]
    fields = ["n", "best_of", "max_tokens", "max_completion_tokens", "min_tokens", "temperature", "top_p",
              "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
              "top_logprobs", "logprobs", "prompt_logprobs", "priority", "length_penalty", "stop",
              "stop_token_ids", "logit_bias", "stream", "echo", "user"]
    for path, base in (("/v1/completions", '{"prompt":"SCRIPT:a"'),
                       ("/v1/chat/completions", '{"messages":[{"role":"user","content":"SCRIPT:a"}]')):
        for field in fields:
            for value in values:
                text = f'{base},"{field}":{value}}}'
                status, _, body = server.request("POST", path, text)
                assert status in (200, 400), (text, status, body)
                if value == "1000000000" and field in ("n", "best_of"):
                    assert status == 400, (text, body)
    for text in ('{"tokens":[-1]}', '{"tokens":[2147483648]}', '{"tokens":[1e308]}', '{"tokens":["a"]}'):
        assert server.request("POST", "/detokenize", text)[0] == 400, text


def test_parameter_floods(server):
    flood = {"prompt": "x", **{f"field{i}": i for i in range(20000)}}
    status, headers, _ = server.request("POST", "/v1/completions", flood)
    assert status == 200 and len(headers["X-Octavo-Ignored-Fields"]) < 1000
    for field, value in (("stop", ["x"] * 100000), ("stop", ["x" * 100000]), ("stop", [""]),
                         ("logit_bias", {str(i): 1 for i in range(5000)}), ("logit_bias", {"x": 1}),
                         ("stop_token_ids", list(range(5000))), ("logit_bias", {"1": 1e308})):
        assert server.post("/v1/completions", {"prompt": "x", field: value})[0] == 400, field
    assert server.post("/v1/completions", {"prompt": ["x"] * 100000})[0] == 400
    assert server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}] * 10000})[0] == 400


def test_schema_and_regex_bombs_are_bounded(server):
    big = "a" * (300 << 10)
    for body in ({"guided_regex": big}, {"structured_outputs": {"grammar": big}},
                 {"structured_outputs": {"json": {"x": big}}},
                 {"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": big}}}},
                 {"guided_choice": ["x"] * 5000}, {"guided_choice": [1]},
                 {"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}},
                 {"response_format": [1]}, {"structured_outputs": []}):
        status, reply = server.post("/v1/completions", {"prompt": "x", **body})
        assert status == 400, (str(body)[:60], status)


def test_templates_from_requests_are_refused(server):
    body = {**CHAT, "chat_template": "{% for i in range(999999999) %}x{% endfor %}"}
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 400 and reply["error"]["param"] == "chat_template"
    assert server.post("/tokenize", body)[0] == 400


def test_no_url_is_fetched(server):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.png"
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
        assert server.post("/v1/chat/completions", body)[0] == 400
        try:
            trap.accept()
            raise AssertionError("the server fetched a URL from a request")
        except socket.timeout:
            pass


def test_header_injection(server):
    body = {"prompt": "x", "a\r\nSet-Cookie: evil=1\r\n": 1}
    status, headers, _ = server.request("POST", "/v1/completions", body)
    assert status == 200 and "Set-Cookie" not in headers


def test_foreign_pages_are_refused(server):
    def status(**headers):
        return server.request("GET", "/version", headers=headers)[0]
    assert status(Origin="https://evil.example") == 403
    assert status(Origin="null") == 403
    assert status(Host="rebound.evil.example") == 421
    assert status(Origin=f"http://127.0.0.1:{server.port}") == 200
    _, headers, _ = server.request("OPTIONS", "/v1/completions", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in headers


def test_keep_alive_and_pipelining(server):
    with server.connect() as sock:
        sock.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        data = b""
        while data.count(b'{"version"') < 20:
            piece = sock.recv(1 << 16)
            assert piece
            data += piece
    assert b"Connection: keep-alive" in data
    with server.connect() as sock:
        sock.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        assert read_reply(sock).startswith(b"HTTP/1.1 200")
        assert sock.recv(10) == b""


def test_a_thousand_connections(server):
    before = server.resident_bytes()
    socks = [server.connect() for _ in range(1000)]
    for sock in socks:
        sock.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert all(status_of(read_reply(sock)) == 200 for sock in socks)
    assert server.resident_bytes() - before < 64 << 20
    # One more than the limit takes the place of the connection that waited longest.
    more = [server.connect() for _ in range(200)]
    for sock in more:
        sock.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert all(status_of(read_reply(sock)) == 200 for sock in more)
    for sock in socks + more:
        sock.close()


def test_ten_thousand_short_requests(server):
    def client(_):
        lost = 0
        with server.connect(60) as sock:
            for i in range(625):
                sock.sendall(request_bytes({"prompt": f"SCRIPT:{i}"}, "/v1/completions"))
                reply = read_reply(sock)
                lost += status_of(reply) != 200 or f'"text":"{i}"'.encode() not in reply
        return lost

    list(map(client, range(1)))
    before = server.resident_bytes()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(client, range(16))) == 0
    assert server.resident_bytes() - before < 16 << 20


def test_key(program):
    with Server(program, "--key", "sesame") as server:
        assert server.get("/health")[0] == 200
        for path in ("/", "/v1/models", "/metrics", "/octavo/status", "/version"):
            assert server.get(path)[0] == 401, path
            assert server.get(path, headers={"Authorization": "Bearer wrong"})[0] == 401
            assert server.get(path, headers={"Authorization": "Bearer sesame"})[0] == 200
        # Without a key not even a body is read.
        assert raw(server, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n") == 401


def test_tls(program):
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/key.pem",
             "-out", f"{folder}/cert.pem"], capture_output=True, check=False)
        if made.returncode != 0:
            print("no openssl program: TLS not tested")
            return
        with Server(program, "--cert", f"{folder}/cert.pem", "--certkey", f"{folder}/key.pem",
                    "--tick-us", 500) as server:
            assert server.url.startswith("https://")
            context = ssl.create_default_context(cafile=f"{folder}/cert.pem")
            with context.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                for i in range(3):
                    sock.sendall(request_bytes({"prompt": f"SCRIPT:{i}"}, "/v1/completions"))
                    assert f'"text":"{i}"'.encode() in read_reply(sock)
                sock.sendall(request_bytes({**CHAT, "stream": True}))
                assert b"200 OK" in sock.recv(1 << 16)

            def nothing_runs():
                with context.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                    sock.sendall(b"GET /octavo/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    return b'"num_running":0' in read_reply(sock)

            eventually(nothing_runs)  # no stream outlives its TLS client
            # Plain HTTP and half a handshake harm nobody.
            raw(server, b"GET / HTTP/1.1\r\n\r\n")
            with server.connect() as sock:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")


def test_unix_socket(program):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/octavo.sock"
        with Server(program, "--uds", path) as server:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path)
                sock.sendall(b"GET /version HTTP/1.1\r\n\r\n")
                assert status_of(read_reply(sock)) == 200
            server.process.kill()
            server.process.wait()
        # What a killed server left behind does not stop the next one.
        with Server(program, "--uds", path) as server:
            assert server.stop() == 0


def test_loading_and_draining(program):
    with Server(program, "--load-ms", 700, "--tick-us", 300, wait_ready=False) as server:
        assert server.get("/health")[0] == 503
        assert server.post("/v1/completions", {"prompt": "x"})[0] == 503
        assert server.get("/octavo/status")[1]["state"] == "loading"
        assert server.get("/")[0] == 200
        server.wait_ready()
        assert server.get("/health")[0] == 200
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            body = {"messages": [{"role": "user", "content": "SCRIPT:" + "x" * 1000}]}
            futures = [pool.submit(server.post, "/v1/chat/completions", body) for _ in range(4)]
            eventually(lambda: running(server) == 4)
            assert server.stop() == 0
            for future in futures:
                status, reply = future.result()
                assert status == 200 and reply["choices"][0]["message"]["content"] == "x" * 1000


def test_drain_has_a_deadline(program):
    with Server(program, "--tick-us", 20000) as server:
        with server.connect() as sock:
            sock.sendall(request_bytes({**CHAT, "stream": True}))
            eventually(lambda: running(server) == 1)
            start = time.time()
            assert server.stop() == 0
            assert 2.5 < time.time() - start < 8  # The fake server's deadline is 3 s; the answer takes 60 s.


def test_full_queue(program):
    with Server(program, "--tick-us", 2000, "--max-seqs", 1, "--queue", 2) as server:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            body = {"prompt": "SCRIPT:" + "x" * 100, "max_tokens": 100}
            statuses = list(pool.map(lambda _: server.request("POST", "/v1/completions", body)[:2], range(12)))
        refused = [headers for status, headers in statuses if status == 429]
        assert refused and all("Retry-After" in headers for headers in refused)
        assert all(status in (200, 429) for status, _ in statuses)


SHARED = [test_parser_overflows, test_request_smuggling, test_huge_bodies_are_refused_unread,
          test_expect_continue, test_slow_loris, test_slow_reader, test_disconnects_abort,
          test_disconnects_in_the_queue, test_random_disconnects, test_deep_and_broken_json, test_bad_utf8,
          test_numeric_extremes, test_parameter_floods, test_schema_and_regex_bombs_are_bounded,
          test_templates_from_requests_are_refused, test_no_url_is_fetched, test_header_injection,
          test_foreign_pages_are_refused, test_keep_alive_and_pipelining, test_a_thousand_connections,
          test_ten_thousand_short_requests]
OWN = [test_key, test_tls, test_unix_socket, test_loading_and_draining, test_drain_has_a_deadline,
       test_full_queue]


def main():
    program, only = sys.argv[1], set(sys.argv[2:])
    failed = 0

    def run(test, argument):
        start = time.time()
        try:
            test(argument)
            print(f"passed {test.__name__} ({time.time() - start:.1f} s)", flush=True)
            return 0
        except Exception:  # Every class of input gets its verdict.
            traceback.print_exc()
            print(f"FAILED {test.__name__}", flush=True)
            return 1

    with Server(program, "--tick-us", 200, "--max-seqs", 16, "--header-ms", 1500, "--write-ms", 1500,
                "--connections", 1100) as server:
        for test in SHARED:
            if only and test.__name__ not in only:
                continue
            failed += run(test, server)
            assert server.process.poll() is None, f"{test.__name__} ended the server"
            assert server.get("/health")[0] == 200
            eventually(lambda: running(server) == 0)
        assert server.stop() == 0
    for test in OWN:
        if not only or test.__name__ in only:
            failed += run(test, program)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
