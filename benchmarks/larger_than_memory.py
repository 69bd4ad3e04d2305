#!/usr/bin/env python3
"""A capture of a checkpoint that is larger than the memory allowed.

Makes a LLaMA-shaped safetensors file of --gib GiB (random bfloat16 values; kept in --folder for the next time), drops it
from the page cache, and captures a prompt with a limit of --limit-gib GiB on the program's memory of its own (RLIMIT_DATA,
`ulimit -d`). Fails when the capture does, when more than 1 % of the file is read twice, or when the peak of the memory in use is
above the mapped file plus 1 GiB. Prints what was measured as JSON.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from generated import GIB, Shape, file_bytes, write_model

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ONE_LAYER = Shape(layers=1, d=4096, heads=32, kv_heads=8, mlp=11008, vocabulary=4096)


def of_size(gib):
    """As many layers as make a file of so many GiB."""
    layer = file_bytes(ONE_LAYER._replace(layers=2)) - file_bytes(ONE_LAYER)
    outside = file_bytes(ONE_LAYER) - layer
    return ONE_LAYER._replace(layers=max(1, round((gib * GIB - outside) / layer)))


def drop_from_cache(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_rate(path):
    """Bytes a second of plain sequential reads of the first GiB, cold."""
    drop_from_cache(path)
    began, count = time.monotonic(), 0
    with open(path, "rb", buffering=0) as file:
        while count < GIB and (block := file.read(8 << 20)):
            count += len(block)
    rate = count / (time.monotonic() - began)
    drop_from_cache(path)
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--folder", help="where the checkpoint is made (default: build-bench/large)",
                        default=os.path.join(ROOT, "build-bench", "large"))
    parser.add_argument("--gib", type=float, default=8)
    parser.add_argument("--limit-gib", type=float, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    print(f"== {options.folder}", file=sys.stderr, flush=True)
    path = write_model(options.folder, of_size(options.gib))
    rate = disk_rate(path)
    limit = int(options.limit_gib * GIB)
    with tempfile.TemporaryDirectory() as folder:
        ids = os.path.join(folder, "ids.json")
        with open(ids, "w", encoding="utf-8") as file:
            json.dump([[i * 31 % ONE_LAYER.vocabulary for i in range(options.tokens)]], file)
        command = [options.program, "capture", "--model", options.folder, "--ids", ids, "--sinks", "--out",
                   os.path.join(folder, "out"), "--json", "--quiet"]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
        if result.returncode:
            sys.exit(f"the capture failed with exit code {result.returncode}")
        found = json.loads(result.stdout)
        size, block_reads = os.path.getsize(path), resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock * 512
    report = dict(file_bytes=size, limit_bytes=limit, tokens=found["tokens"], seconds=found["seconds"],
                  weight_seconds=found["weight_seconds"], bytes_read=found["weight_bytes"], bytes_from_disk=block_reads,
                  peak_rss_mib=found["peak_rss_mib"], disk_gib_per_s=round(rate / GIB, 2),
                  capture_gib_per_s=round(size / GIB / found["seconds"], 2))
    print(json.dumps(report, indent=2))
    # Whatever the system itself has dropped from its page cache between two uses is read again.
    if not size <= report["bytes_read"] <= 1.01 * size:
        sys.exit(f"{report['bytes_read']} bytes were read of a file of {size}")
    if report["peak_rss_mib"] > size / (1 << 20) + 1024:
        sys.exit("peak memory is above the mapped file plus 1 GiB")


if __name__ == "__main__":
    main()
