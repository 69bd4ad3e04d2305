#!/usr/bin/env python3
"""Keeps a part of the shared fixtures in tests/golden, for checkouts that have no shared folder.

    scripts/keep-golden.py [SHARED]

A model's configs and weights are kept whole; of its golden tensors those of the whole pass and of one block, with their
tolerances. The tests read a kept folder like a shared one.
"""
import json
import pathlib
import shutil
import struct
import sys

# Together they have every feature of the families: see "covers" for what each is here for.
MODELS = {
    "bert": "an encoder: norms after the additions, token types, a head with a dense layer",
    "deepseek_v3": "latent attention, a dense block, experts by sigmoid from groups, shared experts",
    "falcon": "one norm for attention and MLP side by side, one KV head",
    "falcon_alibi": "ALiBi scaled with the scores",
    "falcon_new": "two norms side by side, KV heads for groups of a fused tensor",
    "gemma2": "sandwich norms, soft caps, windows, gains less 1, scaled embeddings",
    "gemma3_text": "two RoPEs, QK-norm of heads, a planted spike",
    "gpt2_bare": "learned positions, transposed weights, names without a prefix",
    "gpt_neox": "attention and MLP side by side, RoPE on a part of the channels",
    "llama_yarn_rope": "YaRN",
    "mixtral": "experts by softmax",
    "mpt": "ALiBi, layer norms without bias",
    "olmo2": "norms of the branches, QK-norm over all heads",
    "opt": "ReLU, positions from row 2",
    "phi3": "fused qkv and gate_up",
    "qwen3": "QK-norm of heads that are wider than d / heads",
    "smollm3": "blocks without RoPE",
    "stablelm": "layer norms in a gated model, biases on q, k, v",
    "clip": "two towers: a norm before the first block, pooling by the end of text, projections",
    "dinov2_with_registers_interp": "patches, registers, resized positions, LayerScale, a gated MLP, a classifier",
}
BLOCK = 1
LARGEST = 8_000_000  # bytes of the whole folder, vision models included


def read_tensors(path):
    """Header entry and bytes of each tensor."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: (entry, data[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def write_tensors(path, tensors):
    header, offset = {}, 0
    for name, (entry, data) in tensors.items():
        header[name] = {**entry, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))


def is_kept(name):
    name = name.removeprefix("text.").removeprefix("vision.")
    return (not name.startswith("layers.") or name.startswith(f"layers.{BLOCK}.")) and not name.endswith(".mask")


def keep(source, folder):
    folder.mkdir(parents=True)
    for file in sorted(source.glob("config*.json")) + sorted(source.glob("model*.safetensors*")):
        shutil.copyfile(file, folder / file.name)
    tensors = {name: tensor for name, tensor in read_tensors(source / "golden.safetensors").items() if is_kept(name)}
    write_tensors(folder / "golden.safetensors", tensors)
    meta = json.loads((source / "meta.json").read_text())
    atol = {name: {"atol": value["atol"]} for name, value in meta["tolerances"].items() if name in tensors}
    (folder / "meta.json").write_text(json.dumps({"covers": MODELS[source.name], "tolerances": atol}, indent=1) + "\n")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    shared = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root.parent / "shared"
    kept = root / "tests" / "golden"
    for model in MODELS:
        shutil.rmtree(kept / model, ignore_errors=True)
        keep(shared / "fixtures" / "models" / model, kept / model)
    size = sum(file.stat().st_size for file in kept.rglob("*") if file.is_file())
    print(f"{len(MODELS)} models, {size:,} of at most {LARGEST:,} bytes in {kept}")
    if size > LARGEST:
        sys.exit("too large: keep fewer models")


main()
