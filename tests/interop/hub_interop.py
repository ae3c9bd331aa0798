# SPDX-License-Identifier: Apache-2.0
"""Octavo and huggingface_hub on one cache and one hub.

The hub is the stand-in of tests/hub: that huggingface_hub is content with it shows that it speaks as
the real one does. The cache is read and written by both.
"""
import json
import os
import pathlib
import subprocess
import sys

import common

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hub"))
from stand_in import HubStandIn, Repo  # noqa: E402

NAME = "org/model"

# What huggingface_hub makes of a hub: run apart, because it reads its environment when imported.
CLIENT = """
import json, sys
import huggingface_hub as hub
from huggingface_hub import errors
request = json.loads(sys.argv[1])
try:
    print(json.dumps(getattr(hub, request["call"])(**request["arguments"])))
except Exception as error:
    print(json.dumps({"error": type(error).__name__}))
"""

LOAD = """
import sys, transformers
name = sys.argv[1]
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype="float32")
ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
print(ids.shape[1], model(ids).logits[0, -1].argmax().item())
"""


class Bench:
    """One stand-in, and the two programs beside it."""

    def __init__(self, octavo, hub, scratch):
        self.octavo, self.hub, self.scratch = octavo, hub, pathlib.Path(scratch)

    def environment(self, cache, **more):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("HF_", "HUGGING", "OCTAVO_", "TRANSFORMERS_"))}
        return {**kept, "HF_HOME": str(self.scratch / "home"), "HF_HUB_CACHE": str(cache),
                "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1,127.0.0.2,localhost", **more}

    def client(self, call, cache, offline=False, token=None, **arguments):
        more = {"HF_HUB_OFFLINE": "1" if offline else "0", **({"HF_TOKEN": token} if token else {})}
        done = subprocess.run([sys.executable, "-c", CLIENT,
                               json.dumps({"call": call, "arguments": arguments})],
                              env=self.environment(cache, **more), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    def run(self, cache, *arguments, **more):
        done = subprocess.run([self.octavo, *map(str, arguments)], capture_output=True, text=True,
                              env=self.environment(cache, **more))
        if done.returncode != 0:
            raise RuntimeError(f"octavo {arguments[0]}: {done.stderr}")
        return done.stdout


def same_files(folder, files):
    return all((pathlib.Path(folder) / name).read_bytes() == content for name, content in files.items())


def check_octavos_cache(bench, files, checks):
    cache = bench.scratch / "octavo-cache"
    folder = bench.run(cache, "pull", NAME).strip()
    checks.expect(same_files(folder, files), "octavo pull: every byte")
    offline = bench.client("snapshot_download", cache, offline=True, repo_id=NAME, local_files_only=True)
    checks.expect(offline == folder, "snapshot_download(local_files_only=True) finds octavo's snapshot")
    found = bench.client("try_to_load_from_cache", cache, repo_id=NAME, filename="config.json")
    checks.expect(found == folder + "/config.json", "try_to_load_from_cache finds octavo's file")
    bench.hub.forget()
    again = bench.client("snapshot_download", cache, repo_id=NAME, allow_patterns=sorted(files))
    checks.expect(again == folder and not bench.hub.of("cdn"), "snapshot_download fetches nothing again")
    done = subprocess.run([sys.executable, "-c", LOAD, NAME], capture_output=True, text=True,
                          env=bench.environment(cache, HF_HUB_OFFLINE="1"))
    checks.expect(done.returncode == 0, f"transformers loads the model by its name, offline {done.stderr[-300:]}")
    if done.returncode != 0:
        return
    ids = json.loads(bench.run(cache, "generate", NAME, "-p", "The capital of France is", "--max-tokens", "1",
                               "--dtype", "float32", "--json", "-", OCTAVO_OFFLINE="1"))
    count, token = map(int, done.stdout.split())
    checks.expect(len(ids["prompt_token_ids"]) == count and ids["token_ids"] == [token],
                  "both give the same token from it")


def check_their_cache(bench, files, checks):
    cache = bench.scratch / "their-cache"
    folder = bench.client("snapshot_download", cache, repo_id=NAME)
    if not isinstance(folder, str):
        raise RuntimeError(f"snapshot_download from the stand-in: {folder}")
    checks.expect(same_files(folder, files), "snapshot_download from the stand-in: every byte")
    shown = bench.run(cache, "inspect", NAME, OCTAVO_OFFLINE="1")
    checks.expect(folder in shown, "octavo finds the snapshot of huggingface_hub, offline")
    bench.hub.forget()
    report = json.loads(bench.run(cache, "pull", NAME, "--json", "-"))
    checks.expect(report["fetched_bytes"] == 0 and report["path"] == folder and not bench.hub.of("cdn"),
                  "octavo pull fetches nothing again")
    names = bench.client("list_repo_files", cache, repo_id=NAME)
    checks.expect(sorted(names) == sorted([*files, "README.md"]), "list_repo_files")


def check_refusals(bench, checks):
    cache = bench.scratch / "refused"
    hub = bench.hub
    for name, arguments, want in (
            ("no such model", {"repo_id": "org/none", "filename": "config.json"}, "RepositoryNotFoundError"),
            ("no such file", {"repo_id": NAME, "filename": "none"}, "RemoteEntryNotFoundError"),
            ("no such revision", {"repo_id": NAME, "filename": "config.json", "revision": "none"},
             "RevisionNotFoundError"),
            ("gated model", {"repo_id": "org/gated", "filename": "config.json"}, "GatedRepoError")):
        got = bench.client("hf_hub_download", cache, **arguments)
        checks.expect(got == {"error": want}, f"{name}: huggingface_hub says {got}")
    hub.forget()
    got = bench.client("hf_hub_download", cache, token=hub.token, repo_id="org/gated", filename="model.safetensors")
    checks.expect(isinstance(got, str) and {row[4] for row in hub.of("cdn")} == {None},
                  "gated model with a token: huggingface_hub keeps it from the CDN too")


def body(octavo, model, scratch, checks):
    folder = common.as_folder(octavo, model, scratch)
    wanted = (".json", ".safetensors", ".jinja", ".model", ".txt")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name.endswith(wanted)}
    gated = Repo({"config.json": b"{}", "model.safetensors": b"weights"})
    gated.gated = True
    with HubStandIn({NAME: Repo({**files, "README.md": b"# Model"}), "org/gated": gated}) as hub:
        bench = Bench(octavo, hub, scratch)
        check_octavos_cache(bench, files, checks)
        check_their_cache(bench, files, checks)
        check_refusals(bench, checks)


if __name__ == "__main__":
    common.main(body)
