# SPDX-License-Identifier: Apache-2.0
"""What the interop scripts share: running octavo, the default model as a folder, counting checks."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

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


def main(body):
    """body(octavo, model, scratch, checks), with OCTAVO MODEL from the command line."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} OCTAVO MODEL")
    checks = Checks()
    with tempfile.TemporaryDirectory() as scratch:
        body(os.path.abspath(sys.argv[1]), sys.argv[2], scratch, checks)
    sys.exit(checks.exit_code())
