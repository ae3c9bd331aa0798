# SPDX-License-Identifier: Apache-2.0
"""Starts fake_server for a test, and speaks raw HTTP to it."""
import http.client
import json
import socket
import subprocess


class Server:
    def __init__(self, program, *options, wait_ready=True, stderr=subprocess.DEVNULL):
        self.process = subprocess.Popen([program, "0", *map(str, options)], stdout=subprocess.PIPE,
                                        stderr=stderr, text=True)
        line = self.process.stdout.readline().strip()
        assert line.startswith("listening "), line
        self.url = line.split()[1]
        self.port = 0 if self.url.startswith("unix:") else int(self.url.rsplit(":", 1)[1])
        if wait_ready:
            self.wait_ready()

    def wait_ready(self):
        assert self.process.stdout.readline().strip() == "ready"

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=30):
        """Returns status, headers and body text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, dict(response.getheaders()), text

    def post(self, path, body, **options):
        status, _, text = self.request("POST", path, body, **options)
        return status, json.loads(text)

    def get(self, path, **options):
        status, _, text = self.request("GET", path, **options)
        return status, json.loads(text) if text.startswith("{") else text

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096

    def stop(self, seconds=20):
        """Ends the server as an operator would; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def read_reply(sock):
    """Reads until the peer closes or the declared body is complete; the raw bytes."""
    data = b""
    try:
        while True:
            piece = sock.recv(1 << 16)
            if not piece:
                return data
            data += piece
            head, found, body = data.partition(b"\r\n\r\n")
            if found and b"100 Continue" not in head:
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:") and len(body) >= int(line[15:]):
                        return data
    except (ConnectionResetError, socket.timeout):
        return data


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0
