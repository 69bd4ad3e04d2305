#!/usr/bin/env python3
"""Kills a capture at random moments, and completes it with --resume.

After every SIGKILL the layers that were done must open, an older dump in the same folder must still be what it was, and
`capture --resume` must lead to the same content as a run that nobody disturbed: every dataset and attribute, to the bit.
Exit code 77: skipped, since h5py or the model is not there.
"""
import argparse
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

try:
    import h5py
except ImportError:
    print("skipped: no h5py for this Python (Debian: apt install python3-h5py)")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Say how a dump came to be, not what it holds.
IGNORED = {"command"}


def content(folder):
    """All of a dump by name: shapes, types, bytes, attributes."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.h5"), recursive=True)):
        with h5py.File(path, "r") as file:
            name = os.path.relpath(path, folder)

            def visit(key, thing):
                for attribute, value in thing.attrs.items():
                    if attribute not in IGNORED:
                        found[f"{name}:{key}@{attribute}"] = str(value)
                if isinstance(thing, h5py.Dataset):
                    value = thing[()]
                    data = value.tobytes() if value.dtype != object else repr(value.tolist())
                    found[f"{name}:{key}"] = (value.shape, str(value.dtype), data)

            visit("/", file)
            file.visititems(visit)
    return found


def read(name, thing):
    """For visititems, which goes on while it gets None."""
    if isinstance(thing, h5py.Dataset):
        thing[()]


def check_layers_that_are_done(out):
    """Opens and reads them all; a layer's file has its name from the moment it is whole. How many there are."""
    layers = glob.glob(os.path.join(out, "dump.partial", "layers", "*.h5"))
    for path in layers:
        try:
            with h5py.File(path, "r") as file:
                file.visititems(read)
        except OSError as error:
            sys.exit(f"{path}: was whole, and does not open: {error}")
    return len(layers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if subprocess.run([options.program, "inspect", "--no-estimate", "--quiet", options.model], capture_output=True).returncode:
        print(f"skipped: {options.model} cannot be opened; spikescope models fetch smollm2-135m brings the default")
        sys.exit(77)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        ids, other_ids = os.path.join(folder, "ids.json"), os.path.join(folder, "other.json")
        for path, step in ((ids, 7919), (other_ids, 104729)):
            with open(path, "w", encoding="utf-8") as file:
                json.dump([[(w * 512 + i) * step % 49000 for i in range(512)] for w in range(6)], file)

        def command(out, source=ids, resume=False):
            return [options.program, "capture", "--quiet", "--model", options.model, "--ids", source, "--out", out, "--sinks",
                    "--writers", "--losses"] + ["--resume"] * resume

        def run(*arguments, **keywords):
            result = subprocess.run(command(*arguments, **keywords), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if result.returncode:
                sys.exit(f"exit code {result.returncode}: {result.stderr}")

        began = time.monotonic()
        run(os.path.join(folder, "whole"))
        seconds = time.monotonic() - began
        whole = content(os.path.join(folder, "whole", "dump"))
        run(os.path.join(folder, "older"), other_ids)
        older = content(os.path.join(folder, "older", "dump"))
        too_late = resumed = 0
        for kill in range(options.kills):
            out = os.path.join(folder, "out")
            shutil.rmtree(out, ignore_errors=True)
            has_older = kill % 3 == 0
            if has_older:
                shutil.copytree(os.path.join(folder, "older"), out)
            # A third of the runs are killed twice, the second time while they go on from the first.
            for again in range(1 + (kill % 3 == 1)):
                process = subprocess.Popen(command(out, resume=again > 0), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(chance.uniform(0.0, seconds))
                process.kill()
                ended = process.wait()
                too_late += ended == 0
            opened = check_layers_that_are_done(out)
            resumed += opened > 0
            if has_older and ended != 0 and content(os.path.join(out, "dump")) not in (older, whole):
                sys.exit(f"kill {kill}: the older dump is no longer what it was")
            run(out, resume=True)
            found = content(os.path.join(out, "dump"))
            if found != whole:
                different = [name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)]
                sys.exit(f"kill {kill}: different from an undisturbed run: {', '.join(sorted(different)[:5])}")
            if os.path.exists(os.path.join(out, "dump.partial")):
                sys.exit(f"kill {kill}: dump.partial is still there")
        print(f"{options.kills} kills: every run was completed to the same content ({resumed} had layers that were done, "
              f"{too_late} kills came after the end)")


if __name__ == "__main__":
    main()
