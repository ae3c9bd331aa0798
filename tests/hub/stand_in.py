# SPDX-License-Identifier: Apache-2.0
"""A hub on this machine: the URLs, headers and error codes of the real one, and faults on request.

Two servers, as in life: the hub itself, and a CDN at another address that large files redirect to.
Standard library only. tests/interop/hub_interop.py checks with huggingface_hub that it is faithful.
"""
import hashlib
import http.server
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse

CHUNK = 64 << 10


def git_blob_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repo:
    """Commits of one repository. Large files are those with the endings that the hub keeps in LFS."""

    LARGE = (".safetensors", ".gguf", ".bin", ".pt")

    def __init__(self, files):
        self.commits = {}
        self.refs = {}
        self.hashes = {}
        self.gated = False
        self.private = False
        self.commit(files)

    def commit(self, files, ref="main"):
        sha = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha

    def is_large(self, path):
        return path.endswith(self.LARGE)

    def oid(self, path, content):
        key = (path, id(content))
        if key not in self.hashes:
            large = self.is_large(path)
            self.hashes[key] = hashlib.sha256(content).hexdigest() if large else git_blob_sha1(content)
        return self.hashes[key]

    def entry(self, path, content):
        row = {"type": "file", "oid": git_blob_sha1(content[:1]), "size": len(content), "path": path}
        if self.is_large(path):
            row["lfs"] = {"oid": self.oid(path, content), "size": len(content), "pointerSize": 134}
        else:
            row["oid"] = self.oid(path, content)
        return row


class Faults:
    """What goes wrong; tests set these while the servers run."""

    def __init__(self):
        self.cut_after = None  # the CDN closes each connection after so many bytes
        self.flip = 0          # so many contents come with a wrong first byte
        self.stall = 0         # so many contents stop after their first chunk
        self.statuses = []     # the CDN's next answers, before it works
        self.no_ranges = False
        self.extra_bytes = b""  # behind every content
        self.chunk_pause_s = 0.0
        self.tree = None       # replaces the list of files (any bytes)
        self.next_page = None  # what the list names as its next page
        self.location = None   # where large files redirect to
        self.page_size = 1000


class HubStandIn:
    """The two servers. `requests` holds (host, method, path, range, authorization) of each request."""

    def __init__(self, repos, token="secret-token", certificate=None):
        """`certificate`: a PEM file with key and certificate; the servers speak HTTPS then."""
        self.repos = repos
        self.token = token
        self.faults = Faults()
        self.lock = threading.Lock()
        self.requests = []
        self.cdn_bytes = 0
        self.cdn_running = 0
        self.cdn_most = 0  # most contents sent at the same time
        # Two addresses, so that clients see two hosts; a name would need /etc/hosts, which bare systems lack.
        self.servers = [Server("127.0.0.1", HubHandler, self), Server("127.0.0.2", CdnHandler, self)]
        scheme = "http"
        if certificate:
            scheme = "https"
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            for server in self.servers:
                server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{scheme}://127.0.0.1:{self.servers[0].server_port}"
        self.cdn_url = f"{scheme}://127.0.0.2:{self.servers[1].server_port}"
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def forget(self):
        with self.lock:
            self.requests.clear()
            self.cdn_bytes = self.cdn_most = 0

    def of(self, host):
        with self.lock:
            return [row for row in self.requests if row[0] == host]

    def take(self, name):
        """True, and one less, while the counter of this fault is above zero."""
        with self.lock:
            left = getattr(self.faults, name)
            setattr(self.faults, name, max(0, left - 1))
            return left > 0


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, handler, stand_in):
        self.stand_in = stand_in
        super().__init__((address, 0), handler)

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = ""

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.stand_in
        with hub.lock:
            hub.requests.append((self.host, self.command, self.path, self.headers.get("Range"),
                                 self.headers.get("Authorization")))
        url = urllib.parse.urlsplit(self.path)
        self.answer(hub, urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query))

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        headers = {"Content-Type": "application/json", "X-Error-Message": message}
        if code:
            headers["X-Error-Code"] = code
        self.reply(status, json.dumps({"error": message}).encode(), headers)

    def wanted_range(self, size):
        """[begin, end) of the Range header and the status that goes with it."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not match or self.server.stand_in.faults.no_ranges:
            return 0, size, 200
        begin = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else size, size)
        return (begin, end, 206) if begin < size else (0, 0, 416)


class HubHandler(Handler):
    host = "hub"

    def answer(self, hub, path, query):
        for pattern, method in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self.model_info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", self.tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
            (r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)", self.small_file),
        ):
            # Revisions come with their slashes escaped: the escaped path tells where they end.
            match = re.fullmatch(pattern, urllib.parse.urlsplit(self.path).path)
            if match:
                groups = [urllib.parse.unquote(group) if group else group for group in match.groups()]
                return self.with_repo(hub, method, query, *groups)
        return self.refuse(404, None, "no such page")

    def with_repo(self, hub, method, query, name, revision, *rest):
        repo = hub.repos.get(name)
        authorized = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if self.headers.get("Authorization") and not authorized:
            return self.refuse(401, None, "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not authorized):
            return self.refuse(401 if not authorized else 404, "RepoNotFound", "Repository not found")
        if repo.gated and not authorized and method is not self.model_info:
            return self.refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
        commit = repo.refs.get(revision or "main", revision)
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return method(hub, name, repo, commit, query, *rest)

    def model_info(self, _hub, name, repo, commit, _query):
        info = {"_id": "0" * 24, "id": name, "modelId": name, "sha": commit, "private": repo.private,
                "gated": "auto" if repo.gated else False, "disabled": False, "downloads": 0, "likes": 0,
                "tags": [], "siblings": [{"rfilename": path} for path in repo.commits[commit]]}
        self.reply(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def tree(self, hub, name, repo, commit, query):
        faults = hub.faults
        rows = [repo.entry(*item) for item in repo.commits[commit].items()]
        folders = sorted({row["path"].rsplit("/", 1)[0] for row in rows if "/" in row["path"]})
        rows += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        begin = int(query.get("cursor", ["0"])[0])
        end = begin + faults.page_size
        headers = {"Content-Type": "application/json"}
        if end < len(rows) or faults.next_page:
            following = f"{hub.url}/api/models/{name}/tree/{commit}?recursive=1&cursor={end}"
            headers["Link"] = f'<{faults.next_page or following}>; rel="next"'
        body = faults.tree if faults.tree is not None else json.dumps(rows[begin:end]).encode()
        self.reply(200, body, headers)

    def resolve(self, hub, name, repo, commit, _query, path):
        content = repo.commits[commit].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        oid = repo.oid(path, content)
        headers = {"X-Repo-Commit": commit, "X-Linked-Size": str(len(content)),
                   "X-Linked-ETag": f'"{oid}"', "ETag": f'"{oid}"'}
        escaped = urllib.parse.quote(path)
        if repo.is_large(path):
            headers["Location"] = hub.faults.location or f"{hub.cdn_url}/{name}/{commit}/{escaped}?Signature=x"
            return self.reply(302, b"Found", headers)
        headers["Location"] = f"/api/resolve-cache/models/{name}/{commit}/{escaped}"
        return self.reply(307, b"Temporary Redirect", headers)

    def small_file(self, _hub, _name, repo, commit, _query, path):
        content = repo.commits[commit][path]
        begin, end, status = self.wanted_range(len(content))
        headers = {"X-Repo-Commit": commit, "ETag": f'"{repo.oid(path, content)}"', "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        self.reply(status, content[begin:end] + self.server.stand_in.faults.extra_bytes, headers
                   if not self.server.stand_in.faults.extra_bytes else {**headers, "Connection": "close"})


class CdnHandler(Handler):
    host = "cdn"

    def answer(self, hub, path, query):
        if self.headers.get("Authorization"):
            return self.refuse(400, None, "Only one auth mechanism allowed")  # as object stores do
        with hub.lock:
            status = hub.faults.statuses.pop(0) if hub.faults.statuses else 200
        if status != 200:
            return self.reply(status, b"busy", {"Retry-After": "1"} if status == 429 else {})
        _, org, name, commit, file = path.split("/", 4)
        content = hub.repos[f"{org}/{name}"].commits[commit][file]
        begin, end, status = self.wanted_range(len(content))
        headers = {"Content-Length": str(end - begin), "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        self.reply(status, b"", headers)
        if self.command == "GET" and status != 416:
            self.send_content(hub, memoryview(content)[begin:end])

    def send_content(self, hub, piece):
        faults = hub.faults
        left = faults.cut_after if faults.cut_after is not None else len(piece)
        flip, stall = hub.take("flip"), hub.take("stall")
        with hub.lock:
            hub.cdn_running += 1
            hub.cdn_most = max(hub.cdn_most, hub.cdn_running)
        try:
            for at in range(0, min(left, len(piece)), CHUNK):
                data = bytes(piece[at:min(at + CHUNK, left)])
                if flip and at == 0:
                    data = bytes([data[0] ^ 1]) + data[1:]
                self.wfile.write(data)
                with hub.lock:
                    hub.cdn_bytes += len(data)
                if stall:
                    time.sleep(20)
                    break
                if faults.chunk_pause_s:
                    time.sleep(faults.chunk_pause_s)
        finally:
            with hub.lock:
                hub.cdn_running -= 1
        if left < len(piece):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
