# SPDX-License-Identifier: Apache-2.0
"""What the interop scripts share: running octavo, the default model as a folder, counting checks."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

SKIPPED = 77  # exit code of a script that could not run; says why


class Checks:
    """Prints each check and remembers whether one failed."""

    def __init__(self):
        self.failed = 0

    def expect(self, ok, what):
        print(f"  {'ok  ' if ok else 'FAIL'} {what}", flush=True)
        self.failed += not ok

    def exit_code(self):
        return 1 if self.failed else 0


def run(octavo, *arguments):
    """Runs octavo; its error output becomes the exception's text."""
    done = subprocess.run([octavo, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"octavo {arguments[0]}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def run_json(octavo, *arguments):
    return json.loads(run(octavo, *arguments, "--json", "-"))


def as_folder(octavo, model, scratch):
    """`model` itself when it is a folder, else its bf16 expansion in `scratch`."""
    if os.path.isdir(model):
        return pathlib.Path(model)
    folder = pathlib.Path(scratch) / "expanded"
    run(octavo, "import", model, "-o", folder)
    return folder


def shared():
    """The folder with further models and data ($OCTAVO_SHARED, else ../shared), or None."""
    root = os.environ.get("OCTAVO_SHARED")
    path = pathlib.Path(root) if root else pathlib.Path(__file__).resolve().parents[3] / "shared"
    return path if path.is_dir() else None


class Serving:
    """`octavo serve MODEL` on a free port, ready when the constructor returns."""

    def __init__(self, program, model, *flags):
        self.process = subprocess.Popen([program, "serve", str(model), "--port", "0", *map(str, flags)],
                                        stderr=subprocess.PIPE, text=True)
        self.url = None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if " listens on " in line:
                self.url = line.split(" listens on ")[1].split()[0]
            if line.startswith("ready"):
                break
        else:
            raise RuntimeError("the server did not start: " + "".join(lines[-5:]))
        host = self.url.split("//")[1].rsplit(":", 1)
        self.address = host[0], int(host[1])
        # What it writes later must not fill the pipe and stop it.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.model = self.get("/v1/models")["data"][0]["id"]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return json.load(reply)

    def stop(self):
        """Ends the server as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def main(body):
    """body(octavo, model, scratch, checks), with OCTAVO MODEL from the command line."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} OCTAVO MODEL")
    checks = Checks()
    with tempfile.TemporaryDirectory() as scratch:
        body(os.path.abspath(sys.argv[1]), sys.argv[2], scratch, checks)
    sys.exit(checks.exit_code())
