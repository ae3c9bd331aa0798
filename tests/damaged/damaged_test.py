#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile input against the whole program: an error message that names the file, exit
code 1, no crash, no hang, and no half-written output.

usage: damaged_test.py OCTAVO GOLDEN_FOLDER      (tests/golden; only the standard library is needed)
"""
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

OCTAVO, GOLDEN = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
TIMEOUT_S = 60
MEMORY_LIMIT = 4 << 30  # address space; a damaged count must not allocate gigabytes


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def octavo(*arguments, preexec=limits):
    return subprocess.run([OCTAVO, *map(str, arguments)], capture_output=True, text=True,
                          errors="replace", timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
                          preexec_fn=preexec)


class DamagedTest(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def model(self, name="llama/plain"):
        folder = self.scratch / "model"
        shutil.copytree(GOLDEN / name, folder)
        (folder / "expected.safetensors").unlink()
        return folder

    def run_model(self, folder):
        return octavo("logits", folder, "--prompt-ids", "5,6,7", "-o", self.scratch / "out.safetensors")

    def assert_error(self, done, *words):
        self.assertEqual(done.returncode, 1, f"exit {done.returncode}: {done.stderr}")
        self.assertTrue(done.stderr.startswith("octavo: error: "), done.stderr)
        self.assertLess(len(done.stderr), 2000)
        for word in words:
            self.assertIn(word, done.stderr)

    def edit_config(self, folder, **fields):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config.update(fields)
        path.write_text(json.dumps(config))

    def test_the_undamaged_model_runs(self):
        done = self.run_model(self.model())
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_paths_that_are_no_models(self):
        empty = self.scratch / "empty"
        empty.mkdir()
        text = self.scratch / "model.gguf"
        text.write_text("this is no model")
        zero = self.scratch / "zero.gguf"
        zero.touch()
        for path in ["/nosuchmodel", empty, text, zero, "/dev/null", "/etc/hostname"]:
            for command in ["inspect", "generate"]:
                extra = ["-p", "x"] if command == "generate" else []
                self.assert_error(octavo(command, path, *extra), str(path))

    def test_truncated_weights(self):
        folder = self.model()
        data = (folder / "model.safetensors").read_bytes()
        for size in [0, 4, 8, 100, len(data) // 2, len(data) - 1]:
            (folder / "model.safetensors").write_bytes(data[:size])
            self.assert_error(self.run_model(folder), "model.safetensors")

    def test_huge_header_length(self):
        folder = self.model()
        path = folder / "model.safetensors"
        data = path.read_bytes()
        for length in [len(data) * 2, 1 << 40, (1 << 64) - 1]:
            path.write_bytes(struct.pack("<Q", length) + data[8:])
            self.assert_error(self.run_model(folder), "model.safetensors")

    def test_flipped_bits_never_crash(self):
        folder = self.model()
        path = folder / "model.safetensors"
        data = path.read_bytes()
        header = 8 + struct.unpack("<Q", data[:8])[0]
        rng = random.Random(1)
        for _ in range(100):
            broken = bytearray(data)
            for _ in range(rng.choice([1, 1, 2, 8])):
                broken[rng.randrange(header)] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
            done = self.run_model(folder)
            # A flipped bit inside a name's padding or the metadata may do no harm.
            self.assertIn(done.returncode, (0, 1), done.stderr)

    def test_weights_that_are_not_finite(self):
        folder = self.model()
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        begin = 8 + struct.unpack("<Q", data[:8])[0] + header["model.norm.weight"]["data_offsets"][0]
        data[begin:begin + 4] = struct.pack("<f", float("nan"))
        path.write_bytes(data)
        self.assert_error(self.run_model(folder), "model.norm.weight", "nan")

    def test_config_fields_out_of_range(self):
        for fields in [{"hidden_size": 1 << 40}, {"hidden_size": 0}, {"hidden_size": -64},
                       {"num_hidden_layers": 1 << 30}, {"num_attention_heads": 0},
                       {"num_attention_heads": 7, "num_key_value_heads": 3}, {"vocab_size": 1 << 62},
                       {"vocab_size": "many"}, {"head_dim": 1 << 20}, {"rms_norm_eps": "small"},
                       {"architectures": []}, {"architectures": ["NoSuchForCausalLM"]},
                       {"rope_scaling": {"rope_type": "nosuchrope"}, "rope_parameters": None}]:
            with self.subTest(fields=fields):
                folder = self.model()
                self.edit_config(folder, **fields)
                self.assert_error(self.run_model(folder))
                shutil.rmtree(folder)

    def test_config_that_is_no_json(self):
        folder = self.model()
        for text in ["", "{", "[]", "\x00" * 100, "[" * 100000, '{"a":' * 5000, '{"a": 1e999}']:
            (folder / "config.json").write_text(text)
            self.assert_error(self.run_model(folder), "config.json")

    def test_quantized_twice(self):
        folder = self.model()
        once = self.scratch / "once"
        done = octavo("quantize", folder, "--scheme", "W8A8", "-o", once)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_error(octavo("quantize", once, "--scheme", "W8A8", "-o", self.scratch / "twice"))
        self.assertFalse((self.scratch / "twice").exists())
        self.assert_error(octavo("logits", once, "--quantization", "fp8", "--prompt-ids", "5", "-o",
                                 self.scratch / "x"))

    def test_shard_index_cannot_leave_the_folder(self):
        folder = self.model("llama/llama3_rope")
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        for target in ["../outside.safetensors", "/etc/passwd", "a/../../b.safetensors", ""]:
            changed = json.loads(json.dumps(index))
            changed["weight_map"] = {name: target for name in index["weight_map"]}
            path.write_text(json.dumps(changed))
            self.assert_error(self.run_model(folder))

    def test_output_that_cannot_be_written(self):
        folder = self.model()
        self.assert_error(octavo("quantize", folder, "--scheme", "W8A8", "-o", "/proc/nosuch"))

        def small_files():
            limits()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

        out = self.scratch / "full"
        self.assert_error(octavo("quantize", folder, "--scheme", "W8A8", "-o", out,
                                 preexec=small_files))
        self.assertFalse(out.exists(), "a failed run left an output folder")
        self.assert_error(octavo("info", "--quick", "--json", "/dev/full"), "/dev/full", "No space left")
        self.assertTrue(pathlib.Path("/dev/full").is_char_device(), "the device was replaced")

    def test_interrupted_quantization_leaves_no_output(self):
        folder = self.model()
        out = self.scratch / "interrupted"
        for delay in [0.0, 0.005, 0.02]:
            process = subprocess.Popen([OCTAVO, "quantize", folder, "--scheme", "QOQ_G128", "-o", out],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT_S)
            # Before the handler stands the signal ends the process; a finished run is a finished run.
            self.assertIn(process.returncode, (0, 130, -signal.SIGINT), err)
            self.assertEqual(out.exists(), process.returncode == 0)
            if process.returncode == 0:
                self.assertTrue((out / "model.safetensors").exists())
                shutil.rmtree(out)

    def test_damaged_foreign_forms(self):
        folder = self.model()
        for scheme, target in [("W4A16_ASYM", "gptq"), ("W4A16", "awq")]:
            source, out = self.scratch / scheme, self.scratch / target
            bf16 = self.to_bf16(folder)
            self.assertEqual(octavo("quantize", bf16, "--scheme", scheme, "-o", source).returncode, 0)
            done = octavo("convert", source, "--to", target, "-o", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.run_model(out).returncode, 0)
            path = out / "model.safetensors"
            data = path.read_bytes()
            header = 8 + struct.unpack("<Q", data[:8])[0]
            rng = random.Random(2)
            for at in [rng.randrange(8, header) for _ in range(25)] + [rng.randrange(header, len(data)) for _ in range(10)]:
                broken = bytearray(data)
                broken[at] ^= 1 << rng.randrange(8)
                path.write_bytes(broken)
                for command in [("inspect", out), ("convert", out, "--to", "compressed-tensors", "-o", self.scratch / "x", "--overwrite")]:
                    self.assertIn(octavo(*command).returncode, (0, 1))
            path.write_bytes(data[:header + 100])
            refused = self.scratch / "refused"
            self.assert_error(octavo("convert", out, "--to", "compressed-tensors", "-o", refused), "model.safetensors")
            self.assertFalse(refused.exists())

    def to_bf16(self, folder):
        """The f32 golden model cut to bf16: scales that fit half floats."""
        out = self.scratch / "bf16"
        if out.exists():
            return out
        shutil.copytree(folder, out)
        data = (folder / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header, values, at = json.loads(data[8:8 + size]), b"", 0
        for name, entry in sorted(header.items(), key=lambda item: item[1].get("data_offsets", [0])[0]):
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            raw = data[8 + size + begin:8 + size + end]
            cut = b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))
            entry.update(dtype="BF16", data_offsets=[at, at + len(cut)])
            at, values = at + len(cut), values + cut
        text = json.dumps(header).encode()
        (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values)
        return out


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=1)
