#!/usr/bin/env python3
"""A capture of a checkpoint that is larger than the memory allowed.

Makes a LLaMA-shaped safetensors file of --gib GiB (random bfloat16 values; kept in --folder for the next time), drops it
from the page cache, and captures a prompt with a limit of --limit-gib GiB on the program's memory of its own (RLIMIT_DATA,
`ulimit -d`). Fails when the capture does, when any byte of the file is read twice, or when the peak of the memory in use is
above the mapped file plus 1 GiB. Prints what was measured as JSON.
"""
import argparse
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
D, HEADS, KV_HEADS, WIDTH, VOCABULARY = 4096, 32, 8, 11008, 4096
GIB = 1 << 30


def tensors(layers):
    head_dim = D // HEADS
    yield "model.embed_tokens.weight", [VOCABULARY, D]
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [D]
        yield prefix + "self_attn.q_proj.weight", [D, D]
        yield prefix + "self_attn.k_proj.weight", [KV_HEADS * head_dim, D]
        yield prefix + "self_attn.v_proj.weight", [KV_HEADS * head_dim, D]
        yield prefix + "self_attn.o_proj.weight", [D, D]
        yield prefix + "post_attention_layernorm.weight", [D]
        yield prefix + "mlp.gate_proj.weight", [WIDTH, D]
        yield prefix + "mlp.up_proj.weight", [WIDTH, D]
        yield prefix + "mlp.down_proj.weight", [D, WIDTH]
    yield "model.norm.weight", [D]
    yield "lm_head.weight", [VOCABULARY, D]


def bytes_of(shape):
    size = 2
    for n in shape:
        size *= n
    return size


def write_model(folder, gib):
    block = sum(bytes_of(shape) for name, shape in tensors(1) if ".layers." in name)
    layers = max(1, round((gib * GIB - 2 * bytes_of([VOCABULARY, D])) / block))
    config = dict(model_type="llama", num_hidden_layers=layers, hidden_size=D, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, intermediate_size=WIDTH, vocab_size=VOCABULARY, max_position_embeddings=8192,
                  rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, hidden_act="silu")
    path = os.path.join(folder, "model.safetensors")
    text = json.dumps(config)
    size = sum(bytes_of(shape) for _, shape in tensors(layers))
    try:
        if open(os.path.join(folder, "config.json"), encoding="utf-8").read() == text and os.path.getsize(path) > size:
            return path
    except OSError:
        pass
    print(f"== writing {size / GIB:.1f} GiB to {path}", file=sys.stderr, flush=True)
    os.makedirs(folder, exist_ok=True)
    header, offset = {}, 0
    for name, shape in tensors(layers):
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[offset, offset + bytes_of(shape)])
        offset += bytes_of(shape)
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    # Values of either sign between 2^-7 and 2^-5, and no two rows of a matrix alike: its size is no multiple of a row.
    noise = bytearray(2 * ((32 << 20) + 7))
    noise[0::2] = os.urandom(len(noise) // 2)
    noise[1::2] = os.urandom(len(noise) // 2).translate(bytes(0x3C | b & 0x80 for b in range(256)))
    with open(path + ".partial", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, shape in tensors(layers):
            left = bytes_of(shape)
            if len(shape) == 1:
                file.write(b"\x80\x3f" * shape[0])  # 1.0
                continue
            while left:
                left -= file.write(noise[:min(left, len(noise))])
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".partial", path)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        file.write(text)
    return path


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
    path = write_model(options.folder, options.gib)
    rate = disk_rate(path)
    limit = int(options.limit_gib * GIB)
    with tempfile.TemporaryDirectory() as folder:
        ids = os.path.join(folder, "ids.json")
        with open(ids, "w", encoding="utf-8") as file:
            json.dump([[i * 31 % VOCABULARY for i in range(options.tokens)]], file)
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
    if report["bytes_read"] != size:
        sys.exit(f"{report['bytes_read']} bytes were read of a file of {size}")
    if report["peak_rss_mib"] > size / (1 << 20) + 1024:
        sys.exit("peak memory is above the mapped file plus 1 GiB")


if __name__ == "__main__":
    main()
