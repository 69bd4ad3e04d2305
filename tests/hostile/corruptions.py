#!/usr/bin/env python3
"""Damages small checkpoints at random and gives them to the real program.

A LLaMA of three layers, as one safetensors file, as shards, and as GGUF; in each trial one of its files (config.json,
tokenizer.json, index, weights) or the prompts are cut, overwritten, zeroed, repeated or get huge numbers. Whatever happens,
the program must end by itself (no signal), in time, with a peak of memory of at most 64 MiB above that of the undamaged
run, and where it fails it must say why. Prints a summary; keeps what broke it in --keep.
"""
import argparse
import concurrent.futures
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS, D, HEADS, KV_HEADS, WIDTH, VOCABULARY = 3, 16, 4, 2, 24, 64
SECONDS, EXTRA_KIB = 20, 64 << 10
BLOCK = [("input_layernorm", "attn_norm", [D]), ("self_attn.q_proj", "attn_q", [D, D]),
         ("self_attn.k_proj", "attn_k", [KV_HEADS * D // HEADS, D]), ("self_attn.v_proj", "attn_v", [KV_HEADS * D // HEADS, D]),
         ("self_attn.o_proj", "attn_output", [D, D]), ("post_attention_layernorm", "ffn_norm", [D]),
         ("mlp.gate_proj", "ffn_gate", [WIDTH, D]), ("mlp.up_proj", "ffn_up", [WIDTH, D]), ("mlp.down_proj", "ffn_down", [D, WIDTH])]


def tensors():
    """Hugging Face's name, GGUF's name, shape, float32 bytes."""
    chance = random.Random(3)

    def values(shape):
        count = 1
        for size in shape:
            count *= size
        return struct.pack(f"<{count}f", *(1.0 if len(shape) == 1 else chance.gauss(0.0, 0.3) for _ in range(count)))

    named = [("model.embed_tokens", "token_embd", [VOCABULARY, D])]
    for layer in range(LAYERS):
        named += [(f"model.layers.{layer}.{hf}", f"blk.{layer}.{gguf}", shape) for hf, gguf, shape in BLOCK]
    named += [("model.norm", "output_norm", [D]), ("lm_head", "output", [VOCABULARY, D])]
    return [(hf + ".weight", gguf + ".weight", shape, values(shape)) for hf, gguf, shape in named]


def pieces():
    """The printable characters from '@' on, as the vocabulary of a byte-level BPE with one merge."""
    return [chr(64 + i) for i in range(61)] + ["ab", "\u0120", "."]


def write_safetensors(path, some):
    header, offset = {}, 0
    for name, _, shape, data in some:
        header[name] = dict(dtype="F32", shape=shape, data_offsets=[offset, offset + len(data)])
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in some))


def write_folder(folder, shards):
    os.makedirs(folder)
    config = dict(model_type="llama", num_hidden_layers=LAYERS, hidden_size=D, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, intermediate_size=WIDTH, vocab_size=VOCABULARY, max_position_embeddings=512,
                  rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, hidden_act="silu")
    tokenizer = dict(version="1.0", added_tokens=[], normalizer=None, post_processor=None,
                     pre_tokenizer=dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
                     decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
                     model=dict(type="BPE", vocab={piece: i for i, piece in enumerate(pieces())}, merges=["a b"]))
    for name, document in (("config.json", config), ("tokenizer.json", tokenizer)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(document, file)
    every = tensors()
    if shards == 1:
        return write_safetensors(os.path.join(folder, "model.safetensors"), every)
    index = dict(metadata={}, weight_map={})
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        some = every[shard * len(every) // shards:(shard + 1) * len(every) // shards]
        write_safetensors(os.path.join(folder, name), some)
        index["weight_map"].update({tensor: name for tensor, *_ in some})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file)


def write_gguf(path):
    UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5

    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    def field(key, kind, data):
        return text(key) + struct.pack("<I", kind) + data

    fields = [field("general.architecture", STRING, text("llama"))]
    for key, value in (("block_count", LAYERS), ("embedding_length", D), ("feed_forward_length", WIDTH), ("context_length", 512),
                       ("attention.head_count", HEADS), ("attention.head_count_kv", KV_HEADS), ("rope.dimension_count", D // HEADS)):
        fields.append(field("llama." + key, UINT32, struct.pack("<I", value)))
    fields.append(field("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)))
    fields.append(field("tokenizer.ggml.model", STRING, text("gpt2")))
    fields.append(field("tokenizer.ggml.pre", STRING, text("gpt-2")))
    fields.append(field("tokenizer.ggml.tokens", ARRAY,
                        struct.pack("<IQ", STRING, VOCABULARY) + b"".join(text(piece) for piece in pieces())))
    fields.append(field("tokenizer.ggml.token_type", ARRAY,
                        struct.pack("<IQ", INT32, VOCABULARY) + struct.pack(f"<{VOCABULARY}i", *([1] * VOCABULARY))))
    fields.append(field("tokenizer.ggml.merges", ARRAY, struct.pack("<IQ", STRING, 1) + text("a b")))
    infos, data = b"", b""
    every = tensors()
    for _, name, shape, values in every:
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        infos += struct.pack("<IQ", 0, len(data))
        data += values + b"\0" * (-len(values) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(every), len(fields)) + b"".join(fields) + infos
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + data)


def damage(data, chance):
    """(what was done, bytes)"""
    data = bytearray(data)
    # Headers decide more than values: half of the damage goes to the first kilobytes.
    at = chance.randrange(min(len(data), 4096) if chance.random() < 0.5 else len(data)) if data else 0
    kind = chance.choice(["cut", "flip", "flip", "huge", "huge", "zero", "repeat", "digits", "noise"])
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        for _ in range(chance.choice([1, 1, 2, 8])):
            i = min(len(data) - 1, at + chance.randrange(32))
            data[i] ^= 1 << chance.randrange(8)
    elif kind == "huge":
        width = chance.choice([4, 8])
        value = chance.choice([-1, 1 << (8 * width - 1), 1 << 31, (1 << 31) - 1, 1 << 24, 1 << 40, 1 << 62]) % (1 << 8 * width)
        data[at:at + width] = value.to_bytes(width, "little")
    elif kind == "zero":
        count = min(chance.choice([1, 4, 64, 4096]), len(data) - at)
        data[at:at + count] = bytes(count)
    elif kind == "repeat":
        count = chance.choice([1, 16, 1024])
        data[at:at] = data[at:at + count] * chance.choice([1, 1, 100])
    elif kind == "digits":
        # A number in a JSON text becomes another one.
        digits = [i for i, byte in enumerate(data[:1 << 16]) if 48 <= byte < 58]
        if digits:
            at = chance.choice(digits)
            data[at:at + 1] = chance.choice([b"0", b"-1", b"99999999999", b"4294967296", b"1e400", b"18446744073709551615"])
    else:
        count = min(chance.choice([8, 64, 1024]), len(data) - at)
        data[at:at + count] = bytes(chance.randrange(256) for _ in range(count))
    return f"{kind} at byte {at}", bytes(data)


class Trials:
    def __init__(self, options, folder):
        self.program, self.folder, self.keep = options.program, folder, options.keep
        write_folder(os.path.join(folder, "single"), 1)
        write_folder(os.path.join(folder, "sharded"), 2)
        os.makedirs(os.path.join(folder, "gguf"))
        write_gguf(os.path.join(folder, "gguf", "model.gguf"))
        for model in ("single", "sharded", "gguf"):
            with open(os.path.join(folder, model, "prompts.jsonl"), "w", encoding="utf-8") as file:
                file.write('{"text": "ab c."}\n{"text": "hello there."}\n')
        self.usual = {}
        for model in ("single", "sharded", "gguf"):
            code, message, peak, _ = self.run(os.path.join(folder, model), os.path.join(folder, "out"))
            if code != 0:
                sys.exit(f"the undamaged {model} checkpoint fails: {message}")
            self.usual[model] = peak

    def run(self, model, out):
        """Exit code (None: it did not end), message, peak memory in KiB, seconds."""
        path = os.path.join(model, "model.gguf") if model.endswith("gguf") else model
        command = [self.program, "capture", "--quiet", "--model", path, "--prompts", os.path.join(model, "prompts.jsonl"),
                   "--out", out, "--sinks", "--losses"]
        began = time.monotonic()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
            code, peak = None, 0
            while time.monotonic() < began + SECONDS:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss
                    break
                time.sleep(0.002)
            else:
                process.kill()
                os.wait4(process.pid, 0)
            process.returncode = 0  # it is waited for
            errors.seek(0)
            return code, errors.read().decode(errors="replace"), peak, time.monotonic() - began

    def trial(self, number, seed):
        """(how it ended, what is wrong with that or "")"""
        chance = random.Random(f"{seed} {number}")
        model = chance.choice(["single", "sharded", "gguf", "gguf"])
        here = os.path.join(self.folder, str(number))
        copy = os.path.join(here, model)
        shutil.copytree(os.path.join(self.folder, model), copy)
        name = chance.choice(sorted(os.listdir(copy)))
        with open(os.path.join(copy, name), "rb") as file:
            what, data = damage(file.read(), chance)
        with open(os.path.join(copy, name), "wb") as file:
            file.write(data)
        code, message, peak, seconds = self.run(copy, os.path.join(here, "out"))
        wrong = ""
        if code is None:
            wrong = f"did not end within {SECONDS} s"
        elif code not in (0, 1, 2):
            wrong = f"ended with {code}"
        elif code and not message.startswith("spikescope: "):
            wrong = f"failed without saying why: {message[:200]!r}"
        elif peak > self.usual[model] + EXTRA_KIB:
            wrong = f"took {peak} KiB, {self.usual[model]} when undamaged"
        if wrong:
            wrong = f"trial {number}: {model}/{name}, {what}: {wrong}"
            if self.keep:
                shutil.copytree(copy, os.path.join(self.keep, str(number)), dirs_exist_ok=True)
        shutil.rmtree(here, ignore_errors=True)
        return code, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="folder for the checkpoints that broke it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(options, folder)
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            results = list(pool.map(lambda number: trials.trial(number, options.seed), range(options.trials)))
    findings = [wrong for _, wrong in results if wrong]
    for finding in findings:
        print(finding)
    refused = sum(code not in (0, None) for code, _ in results)
    print(f"{options.trials} corruptions: {refused} refused with a reason, {sum(code == 0 for code, _ in results)} without effect, "
          f"{len(findings)} findings")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
