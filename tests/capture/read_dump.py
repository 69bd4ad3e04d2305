"""Reads the dump of dump_fixture.h, the way a user would: plain h5py, from whatever folder one is in.

usage: read_dump.py OUT [float32|float16]
"""
import json
import sys

import h5py
import numpy as np

out, storage = sys.argv[1], sys.argv[2]
LENGTHS, LAYERS, D, HEADS, KV_HEADS, HEAD_DIM = [3, 2], 2, 4, 2, 1, 3
N = sum(LENGTHS)


def ramp(seed, *shape):
    """The values that the test writes: seed, seed + 1, ..."""
    return seed + np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def same(got, expected):
    assert got.shape == expected.shape, (got.name, got.shape, expected.shape)
    np.testing.assert_array_equal(got[...], expected, err_msg=got.name)


with h5py.File(f"{out}/dump/index.h5") as f:
    for name, value in {
        "format": "spikescope-dump", "version": 1, "model": "/models/tiny", "model_name": "tiny", "model_sha256": "abc123",
        "family": "llama", "command": "spikescope capture --prompt 'Grüße'", "program_version": "0.1.0",
        "dtype": "float32", "storage": storage, "bos": "none",
    }.items():
        assert f.attrs[name] == value, (name, f.attrs[name])
    config = json.loads(f.attrs["config"])
    assert config["n_layers"] == LAYERS and config["d_model"] == D

    assert f["tokens/ids"].dtype == np.int64 and f["tokens/offsets"].dtype == np.int64
    assert f["tokens/ids"][:].tolist() == [5, 6, 7, 8, 9]
    offsets = f["tokens/offsets"][:]
    assert offsets.tolist() == [0, 3, 5]
    assert f["tokens/strings"].asstr()[:].tolist() == ["Ġthe", "▁a", "\n", "bad\ufffd", "n\ufffdl"]
    prompts = [json.loads(text) for text in f["prompts"].asstr()[:]]
    assert prompts == [{"source": "--prompt 1", "text": "first"}, {"source": "--prompt 2", "text": "Grüße"}]

    for layer in range(LAYERS):
        point = f[f"blocks/{layer}/resid_post"]
        assert point.dtype == np.dtype(storage), point.dtype
        same(point, ramp(100 * layer, N, D))
        same(f[f"/blocks/{layer}/attn/q"], ramp(100 * layer + 7, N, HEADS, HEAD_DIM))
        assert isinstance(f["blocks"].get(str(layer), getlink=True), h5py.ExternalLink)
        # Rows of one prompt.
        assert point[offsets[1]:offsets[2]].shape == (LENGTHS[1], D)
        for prompt, length in enumerate(LENGTHS):
            same(f[f"/blocks/{layer}/attn/pattern/{prompt}"], ramp(prompt, HEADS, length, length))
        sinks = f[f"sinks/{layer}"]
        same(sinks["column_sums"], ramp(1, HEADS, N))
        same(sinks["late_column_sums"], ramp(2, HEADS, N))
        same(sinks["entropy"], ramp(3, HEADS, len(LENGTHS)))
        writers = f[f"writers/{layer}"]
        if layer == 0:
            assert sinks["tokens"][:].tolist() == [[0, 0], [1, 1]]
            assert sinks["column_offsets"][:].tolist() == [0, 3, 5]
            same(sinks["columns"], np.concatenate([ramp(4, 3, HEADS), ramp(5, 2, HEADS)]))
            same(sinks["values"], ramp(6, 2, KV_HEADS, HEAD_DIM))
            assert writers["tokens"][:].tolist() == [[1, 1]]
            same(writers["attention"], ramp(7, 1, D))
            same(writers["mlp"], ramp(8, 1, D))
            same(writers["mlp_post"], ramp(9, 1, 8))
        else:
            assert sinks["tokens"].shape == (0, 2) and sinks["columns"].shape == (0, HEADS)
            assert sinks["values"].shape == (0, KV_HEADS, HEAD_DIM) and sinks["column_offsets"][:].tolist() == [0]
            assert writers["attention"].shape == (0, D) and "mlp_post" not in writers
    same(f["embed"], ramp(11, N, D))
    same(f["ln_final/out"], ramp(12, N, D))
    assert f["logits"].shape == (N, 6)
    losses = f["losses/nll"][:]
    assert losses.shape == (N,) and np.isnan(losses[offsets[1:] - 1]).all()
    assert sorted(f.keys()) == sorted(
        ["tokens", "prompts", "blocks", "sinks", "writers", "embed", "ln_final", "logits", "losses"])
    # A table of everything, as one prints it to see what is there. visititems stops at links, so it goes by groups.
    listed = [f"blocks/{layer}/{name}" for layer in f["blocks"] for name in f[f"blocks/{layer}"]]
    assert "blocks/0/resid_post" in listed and "blocks/1/attn" in listed
print("dump read")
