# SPDX-License-Identifier: Apache-2.0
"""`octavo pull` and hub names as models, against a stand-in hub that behaves and misbehaves.

usage: hub_test.py OCTAVO GOLDEN_FOLDER [unittest arguments]
"""
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from stand_in import HubStandIn, Repo, git_blob_sha1

OCTAVO, GOLDEN = map(os.path.abspath, sys.argv[1:3])
MIB = 1 << 20


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def golden_model():
    """A model that runs: a tiny Llama with a tokenizer."""
    model = pathlib.Path(GOLDEN) / "llama" / "plain"
    tokenizer = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                 "post_processor": None, "decoder": None,
                 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
    files = {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors")}
    return {**files, "tokenizer.json": json.dumps(tokenizer).encode()}


class HubTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.cache = self.scratch / "cache"
        self.hub = HubStandIn({})
        self.addCleanup(self.hub.__exit__)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "no_proxy": "127.0.0.1,127.0.0.2,localhost",
                            "OCTAVO_HUB_URL": self.hub.url, "HF_HUB_CACHE": str(self.cache)}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def add_repo(self, files, name="org/model"):
        repo = Repo(files)
        self.hub.repos[name] = repo
        return repo

    def start(self, *arguments, **environment):
        return subprocess.Popen([OCTAVO, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env={**self.environment, **environment})

    def run_octavo(self, *arguments, code=0, **environment):
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, err)
        return out if code == 0 else err

    def pull(self, *arguments, code=0, **environment):
        return self.run_octavo("pull", *arguments, code=code, **environment)

    def snapshot(self, *arguments, **environment):
        return pathlib.Path(self.pull(*arguments, **environment).strip())

    def names_in(self, folder):
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())

    def partials(self):
        return [path for path in self.cache.rglob("*octavo-incomplete*")]

    def assert_same(self, folder, files):
        for name, content in files.items():
            self.assertEqual(hashlib.sha256((folder / name).read_bytes()).digest(),
                             hashlib.sha256(content).digest(), name)


class LayoutTest(HubTest):
    FILES = {"config.json": b"{}", "tokenizer.json": b'{"a": 1}', "model.safetensors": noise(3 * MIB),
             "empty.json": b"", "README.md": b"# Model", "consolidated.safetensors": b"twice",
             "pytorch_model.bin": b"pickle", "onnx/model.safetensors": b"else", "chat_template.jinja": b"{{ x }}"}
    NEEDED = ["chat_template.jinja", "config.json", "empty.json", "model.safetensors", "tokenizer.json"]

    def test_fetches_what_the_engine_reads_into_the_shared_layout(self):
        repo = self.add_repo(self.FILES)
        commit = repo.refs["main"]
        folder = self.snapshot("org/model")
        root = self.cache / "models--org--model"
        self.assertEqual(folder, root / "snapshots" / commit)
        self.assertEqual(self.names_in(folder), self.NEEDED)
        self.assert_same(folder, {name: self.FILES[name] for name in self.NEEDED})
        self.assertEqual((root / "refs" / "main").read_text(), commit)
        self.assertEqual(os.readlink(folder / "config.json"), "../../blobs/" + git_blob_sha1(b"{}"))
        weights = hashlib.sha256(self.FILES["model.safetensors"]).hexdigest()
        self.assertEqual(os.readlink(folder / "model.safetensors"), "../../blobs/" + weights)
        self.assertEqual(self.partials(), [])

    def test_fetches_nothing_twice(self):
        repo = self.add_repo(self.FILES)
        old = self.snapshot("org/model")
        self.hub.forget()
        self.assertEqual(self.snapshot("org/model"), old)
        self.assertEqual(self.hub.of("cdn"), [])
        self.assertFalse([row for row in self.hub.of("hub") if "resolve" in row[2]])
        repo.commit({**self.FILES, "config.json": b'{"new": 1}'})
        self.hub.forget()
        new = self.snapshot("org/model")
        self.assertNotEqual(new, old)
        self.assertEqual(len([row for row in self.hub.of("hub") if "/resolve/" in row[2]]), 1)
        self.assertEqual((old / "config.json").read_bytes(), b"{}")
        self.assertEqual((new / "config.json").read_bytes(), b'{"new": 1}')

    def test_include_and_exclude(self):
        self.add_repo(self.FILES)
        folder = self.snapshot("org/model", "--include", "*.json", "onnx/", "--exclude", "empty*")
        self.assertEqual(self.names_in(folder), ["config.json", "onnx/model.safetensors", "tokenizer.json"])
        self.assertTrue(os.readlink(folder / "onnx/model.safetensors").startswith("../../../blobs/"))
        self.assertIn("no file passes", self.pull("org/model", "--include", "*.bin", code=1))
        self.assertFalse([row for row in self.hub.of("cdn") if row[2].endswith(".bin")])

    def test_revisions(self):
        repo = self.add_repo({**self.FILES, "config.json": b"1"})
        first = repo.refs["main"]
        repo.commit({**self.FILES, "config.json": b"22"}, "v2.0")
        repo.commit({**self.FILES, "config.json": b"333"}, "refs/pr/1")
        for name, arguments, want in (("v2.0", ["org/model", "--revision", "v2.0"], b"22"),
                                      ("refs/pr/1", ["org/model@refs/pr/1"], b"333"),
                                      (None, ["org/model@" + first], b"1")):
            folder = self.snapshot(*arguments)
            self.assertEqual((folder / "config.json").read_bytes(), want)
            if name:
                self.assertEqual((self.cache / "models--org--model/refs" / name).read_text(), folder.name)
        self.assertIn("no such revision", self.pull("org/model", "--revision", "v3", code=1))
        self.pull("org/model", "--revision", "../../x", code=2)

    def test_lists_in_pages(self):
        files = {f"part{i}.json": b"%d" % i for i in range(7)}
        self.add_repo({**files, **self.FILES})
        self.hub.faults.page_size = 3
        self.assertEqual(len(self.names_in(self.snapshot("org/model"))), 7 + len(self.NEEDED))

    def test_gguf_repositories_want_a_file_name(self):
        files = {"m-Q4.gguf": noise(1000), "sub/m-Q8.gguf": noise(2000), "README.md": b"x"}
        self.add_repo(files)
        error = self.pull("org/model", code=1)
        self.assertIn("m-Q4.gguf, sub/m-Q8.gguf", error)
        path = pathlib.Path(self.pull("org/model:sub/m-Q8.gguf").strip())
        self.assertEqual(path.read_bytes(), files["sub/m-Q8.gguf"])
        self.assertIn("no such file", self.pull("org/model:m-Q5.gguf", code=1))
        self.add_repo({"config.json": b"{}", "model.bin": b"x"}, "org/pickles")
        self.assertIn("never read", self.pull("org/pickles", code=1))
        self.assertIn("never fetched", self.pull("org/pickles:model.bin", code=1))

    def test_cache_folder_from_environment_and_flag(self):
        self.add_repo(self.FILES)
        del self.environment["HF_HUB_CACHE"]
        other = self.scratch / "other"
        for arguments, environment, root in (
                ([], {}, self.scratch / ".cache/huggingface/hub"),
                ([], {"XDG_CACHE_HOME": str(other)}, other / "huggingface/hub"),
                ([], {"HF_HOME": str(other / "home")}, other / "home/hub"),
                (["--cache-dir", other / "flag"], {}, other / "flag")):
            folder = self.snapshot("org/model", *arguments, **environment)
            self.assertTrue(str(folder).startswith(f"{root}/models--org--model/"), folder)


class TransferTest(HubTest):
    BIG = noise(96 * MIB, 7)

    def pull_big(self, **environment):
        return self.pull("org/model", "--include", "*.safetensors", **environment)

    def add_big(self, size=96 * MIB):
        content = self.BIG[:size]
        self.add_repo({"model.safetensors": content})
        return content

    def expect_big(self, content):
        folder = next((self.cache / "models--org--model/snapshots").iterdir())
        self.assert_same(folder, {"model.safetensors": content})
        self.assertEqual(self.partials(), [])

    def test_large_files_come_in_parallel_parts(self):
        content = self.add_big()
        self.hub.faults.chunk_pause_s = 0.0005
        self.pull_big()
        self.expect_big(content)
        self.assertGreaterEqual(self.hub.cdn_most, 2)
        self.assertEqual(self.hub.cdn_bytes, len(content))

    def test_goes_on_after_cut_connections(self):
        content = self.add_big(40 * MIB)
        self.hub.faults.cut_after = 9 * MIB
        self.pull_big()
        self.expect_big(content)
        self.assertGreaterEqual(len(self.hub.of("cdn")), 5)
        # What a cut left in flight is lost, nothing more.
        self.assertLess(self.hub.cdn_bytes, len(content) + 12 * MIB)

    def kill_half_way(self, content, how):
        self.hub.faults.chunk_pause_s = 0.002
        process = self.start("pull", "org/model", "--include", "*.safetensors")
        while self.hub.cdn_bytes < len(content) // 3:
            time.sleep(0.01)
        process.send_signal(how)
        process.communicate(timeout=60)
        self.hub.faults.chunk_pause_s = 0.0
        self.assertFalse((self.cache / "models--org--model/refs/main").exists())
        self.assertEqual(len(self.partials()), 2)
        self.hub.forget()
        return process.returncode

    def test_resumes_after_a_kill(self):
        content = self.add_big()
        self.assertEqual(self.kill_half_way(content, signal.SIGKILL), -signal.SIGKILL)
        self.pull_big()
        self.expect_big(content)
        self.assertLess(self.hub.cdn_bytes, len(content) * 3 // 4)

    def test_interrupt_exits_130_and_resumes(self):
        content = self.add_big()
        self.assertEqual(self.kill_half_way(content, signal.SIGINT), 130)
        self.pull_big()
        self.expect_big(content)
        self.assertLess(self.hub.cdn_bytes, len(content) * 3 // 4)

    def test_a_damaged_note_starts_afresh(self):
        content = self.add_big()
        self.kill_half_way(content, signal.SIGKILL)
        next(path for path in self.partials() if path.suffix == ".parts").write_bytes(b"\xff" * 48)
        self.pull_big()
        self.expect_big(content)

    def test_damaged_bytes_of_an_interrupted_pull_are_fetched_again(self):
        content = self.add_big()
        self.kill_half_way(content, signal.SIGKILL)
        partial = next(path for path in self.partials() if path.suffix != ".parts")
        with open(partial, "r+b") as file:
            file.write(b"damaged")
        self.pull_big()
        self.expect_big(content)

    def test_two_processes_fetch_once(self):
        content = self.add_big()
        self.hub.faults.chunk_pause_s = 0.0005
        both = [self.start("pull", "org/model", "--include", "*.safetensors") for _ in range(2)]
        for process in both:
            _, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err)
        self.expect_big(content)
        self.assertEqual(self.hub.cdn_bytes, len(content))

    def test_wrong_checksum_is_fetched_again_once(self):
        content = self.add_big(MIB)
        self.hub.faults.flip = 1
        self.pull_big()
        self.expect_big(content)
        self.add_repo({"model.safetensors": content[::-1]})
        self.hub.faults.flip = 2
        error = self.pull("org/model", "--include", "*", code=1)
        self.assertIn("checksum", error)
        blob = hashlib.sha256(content[::-1]).hexdigest()
        self.assertFalse(list(self.cache.rglob(blob + "*[!k]")))  # but for its lock
        self.pull_big()

    def test_small_files_are_checked_too(self):
        repo = self.add_repo({"config.json": b"{}", "model.safetensors": b"x"})
        repo.hashes[("config.json", id(repo.commits[repo.refs["main"]]["config.json"]))] = "0" * 40
        self.assertIn("checksum", self.pull("org/model", code=1))

    def test_silent_connections_time_out(self):
        content = self.add_big(MIB)
        self.hub.faults.stall = 1
        self.pull_big(HF_HUB_DOWNLOAD_TIMEOUT="1")
        self.expect_big(content)

    def test_busy_servers_are_asked_again(self):
        content = self.add_big(MIB)
        self.hub.faults.statuses = [503, 429, 500]
        self.pull_big()
        self.expect_big(content)

    def test_servers_without_ranges(self):
        content = self.add_big()
        self.hub.faults.no_ranges = True
        self.pull_big()
        self.expect_big(content)

    def test_more_bytes_than_listed(self):
        self.add_repo({"config.json": b"{}", "model.safetensors": b"x"})
        self.hub.faults.extra_bytes = b"more"
        self.assertIn("want 2 as listed", self.pull("org/model", code=1))

    def test_nothing_answers(self):
        error = self.pull("org/model", code=1, OCTAVO_HUB_URL="http://127.0.0.1:9")
        self.assertIn("127.0.0.1", error)

    def test_full_disk_keeps_what_arrived(self):
        content = self.add_big(3 * MIB)
        self.add_repo({"a.json": b"{}", "model.safetensors": content})

        def small_files_only():
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

        done = subprocess.run([OCTAVO, "pull", "org/model"], capture_output=True, text=True,
                              env=self.environment, preexec_fn=small_files_only, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("resource exhausted", done.stderr)
        self.assertFalse((self.cache / "models--org--model/refs/main").exists())
        self.pull("org/model")
        self.expect_big(content)

    def test_small_disk_is_seen_before_the_transfer(self):
        disk = self.scratch / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("mounting a small disk needs root")
        self.addCleanup(subprocess.run, ["umount", str(disk)], check=True)
        self.add_big(3 * MIB)
        error = self.pull("org/model", "--include", "*", "--cache-dir", disk / "hub", code=1)
        self.assertIn("the disk has", error)
        self.assertEqual(self.hub.of("cdn"), [])


class AccessTest(HubTest):
    FILES = {"config.json": b"{}", "model.safetensors": noise(1000)}

    def test_the_token_stays_with_the_hub(self):
        self.add_repo(self.FILES).private = True
        for environment in ({"HF_TOKEN": self.hub.token}, {"HUGGING_FACE_HUB_TOKEN": self.hub.token}):
            self.pull("org/model", "--cache-dir", self.scratch / str(len(environment)), **environment)
        stored = self.scratch / ".cache/huggingface"
        stored.mkdir(parents=True)
        (stored / "token").write_text(self.hub.token + "\n")
        self.pull("org/model")
        self.pull("org/model", "--token", self.hub.token, "--cache-dir", self.scratch / "c")
        self.assertTrue(self.hub.of("cdn"))
        self.assertEqual({row[4] for row in self.hub.of("cdn")}, {None})
        self.assertEqual({row[4] for row in self.hub.of("hub")}, {f"Bearer {self.hub.token}"})

    def test_a_token_cannot_bring_headers(self):
        self.add_repo(self.FILES)
        self.assertIn("token", self.pull("org/model", code=1, HF_TOKEN="a\r\nX-Evil: 1"))
        self.assertEqual(self.hub.of("hub"), [])

    def test_says_what_is_missing(self):
        self.add_repo(self.FILES).private = True
        self.add_repo(self.FILES, "org/gated").gated = True
        self.assertIn("HF_TOKEN", self.pull("org/model", code=1))
        self.assertIn("token is not accepted", self.pull("org/model", code=1, HF_TOKEN="wrong"))
        self.assertIn("gated", self.pull("org/gated", code=1))
        self.assertIn("no such model", self.pull("org/none", code=1, HF_TOKEN=self.hub.token))

    def test_hub_names_are_checked_before_anything_is_asked(self):
        for name in ("model", "../model", "org/..", "a/b/c", "org/-x", "org/a--b", "org/x:../y", "org/x@../y"):
            self.pull(name, code=2)
        self.assertEqual(self.hub.of("hub"), [])


@unittest.skipUnless(shutil.which("openssl"), "no openssl program")
class TlsTest(HubTest):
    FILES = {"config.json": b"{}", "model.safetensors": noise(40 * MIB)}

    def serve(self, addresses):
        """The stand-in over HTTPS with a certificate of its own for `addresses`; returns the certificate's file."""
        pem = self.scratch / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "1", "-subj", "/CN=stand-in", "-addext",
                        "subjectAltName=" + ",".join(f"IP:{address}" for address in addresses),
                        "-keyout", str(pem), "-out", str(self.scratch / "public.pem")], check=True, capture_output=True)
        with pem.open("a") as file:
            file.write((self.scratch / "public.pem").read_text())
        self.hub = HubStandIn({}, certificate=str(pem))
        self.addCleanup(self.hub.__exit__)
        self.environment["OCTAVO_HUB_URL"] = self.hub.url
        self.add_repo(self.FILES)
        return str(self.scratch / "public.pem")

    def test_fetches_over_https_in_parts(self):
        trusted = self.serve(["127.0.0.1", "127.0.0.2"])
        self.assert_same(self.snapshot("org/model", SSL_CERT_FILE=trusted), self.FILES)
        self.assertGreater(len(self.hub.of("cdn")), 1)

    def test_refuses_certificates_that_nobody_vouches_for(self):
        self.serve(["127.0.0.1", "127.0.0.2"])
        self.assertIn("certificate", self.pull("org/model", code=1))
        self.assertEqual(self.hub.of("hub"), [])

    def test_refuses_a_cdn_with_the_certificate_of_another(self):
        trusted = self.serve(["127.0.0.1"])
        self.assertIn("127.0.0.2", self.pull("org/model", code=1, SSL_CERT_FILE=trusted))
        self.assertEqual(self.hub.of("cdn"), [])

    def test_does_not_follow_to_plain_http(self):
        trusted = self.serve(["127.0.0.1", "127.0.0.2"])
        with HubStandIn({"org/model": Repo(self.FILES)}) as plain:
            commit = next(iter(plain.repos["org/model"].commits))
            self.hub.faults.location = f"{plain.cdn_url}/org/model/{commit}/model.safetensors"
            self.pull("org/model", code=1, SSL_CERT_FILE=trusted)
            self.assertEqual(plain.of("cdn"), [])


class HostileTest(HubTest):
    def pull_tree(self, tree):
        self.add_repo({"config.json": b"{}"})
        self.hub.faults.tree = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
        return self.pull("org/model", "--include", "*", code=1)

    def test_file_names_stay_in_their_folder(self):
        for path in ("../evil", "/tmp/evil", "a/../../evil", "a//b", "a\\b", "a/.", "", "x\n", "y" * 300):
            row = {"type": "file", "oid": git_blob_sha1(b"{}"), "size": 2, "path": path}
            self.assertIn("file name", self.pull_tree([row]))
        self.assertFalse(self.cache.exists())

    def test_hashes_and_sizes_are_checked(self):
        good = {"type": "file", "oid": git_blob_sha1(b"{}"), "size": 2, "path": "config.json"}
        for change in ({"oid": "../x"}, {"oid": "A" * 40}, {"size": -1}, {"size": 1 << 60}, {"size": "2"},
                       {"path": None}, {"lfs": {"oid": "0" * 40, "size": 2}}, {"lfs": {"size": 2}}):
            self.assertIn("octavo: error", self.pull_tree([{**good, **change}]))

    def test_answers_that_are_no_listing(self):
        for tree in (b"", b"<html>", b"{}", b"[1]", b"[" * 100000, b'[{"type": "file"}]'):
            self.assertIn("the hub's", self.pull_tree(tree))
        self.assertIn("too large", self.pull_tree(b" " * (40 * MIB)))

    def test_lists_do_not_lead_elsewhere(self):
        self.hub.faults.next_page = self.hub.cdn_url + "/api/models"
        self.assertIn("another host", self.pull_tree([]))
        self.assertEqual(self.hub.of("cdn"), [])

    def test_redirects_do_not_lead_to_files_or_in_circles(self):
        self.add_repo({"config.json": b"{}", "model.safetensors": b"root:x"})
        for location in ("file:///etc/passwd", self.hub.url + "/org/model/resolve/main/model.safetensors"):
            self.hub.faults.location = location
            self.pull("org/model", code=1)
        self.assertLess(len(self.hub.requests), 100)


class ModelNameTest(HubTest):
    def setUp(self):
        super().setUp()
        self.files = golden_model()
        self.add_repo(self.files)

    def generate(self, name, code=0, **environment):
        return self.run_octavo("generate", name, "--prompt-ids", "1,2", "--max-tokens", "3", "--json", "-",
                               code=code, **environment)

    def test_commands_take_hub_names(self):
        local = self.scratch / "local"
        local.mkdir()
        for name, content in self.files.items():
            (local / name).write_bytes(content)
        want = json.loads(self.generate(local))["token_ids"]
        self.assertEqual(json.loads(self.generate("org/model"))["token_ids"], want)
        self.hub.forget()
        self.assertEqual(json.loads(self.generate("org/model", OCTAVO_OFFLINE="1"))["token_ids"], want)
        self.assertIn("LlamaForCausalLM", self.run_octavo("inspect", "org/model"))
        done = subprocess.run([OCTAVO, "tokenize", "--ids", "org/model"], input="ab", text=True,
                              env=self.environment, capture_output=True, timeout=60)
        self.assertEqual(done.stdout, "2\n")
        self.run_octavo("quantize", "org/model", "--scheme", "FP8_DYNAMIC", "-o", self.scratch / "out")
        self.assertTrue((self.scratch / "out/model.safetensors").exists())
        self.assertEqual(self.hub.requests, [])  # the cache has it all

    def test_offline_asks_nobody(self):
        for variable in ("OCTAVO_OFFLINE", "HF_HUB_OFFLINE"):
            self.assertIn(variable, self.generate("org/model", code=1, **{variable: "1"}))
        self.assertEqual(self.hub.requests, [])

    def test_a_half_fetched_model_is_completed(self):
        self.pull("org/model", "--include", "*.json")
        self.assertIn("OFFLINE", self.generate("org/model", code=1, OCTAVO_OFFLINE="1"))
        self.generate("org/model")

    def test_paths_win_and_files_are_no_names(self):
        (self.scratch / "org/model").mkdir(parents=True)
        process = subprocess.run([OCTAVO, "inspect", "org/model"], cwd=self.scratch, env=self.environment,
                                 capture_output=True, text=True, timeout=60)
        self.assertIn("config.json", process.stderr)
        self.assertIn("no such file", self.run_octavo("tokenize", "org/model.gguf", code=1).lower())
        self.assertEqual(self.hub.requests, [])
        self.assertIn("as a hub name", self.generate("org/none", code=1))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
