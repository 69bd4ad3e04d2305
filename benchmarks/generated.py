"""LLaMA-shaped checkpoints of any size, made of random bfloat16 values: for measuring time and memory, not for text."""
import collections
import json
import os
import struct

GIB = 1 << 30

Shape = collections.namedtuple("Shape", "layers d heads kv_heads mlp vocabulary")


def tensors(shape):
    head_dim = shape.d // shape.heads
    q, kv = [shape.d, shape.d], [shape.kv_heads * head_dim, shape.d]
    yield "model.embed_tokens.weight", [shape.vocabulary, shape.d]
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [shape.d]
        yield prefix + "self_attn.q_proj.weight", q
        yield prefix + "self_attn.k_proj.weight", kv
        yield prefix + "self_attn.v_proj.weight", kv
        yield prefix + "self_attn.o_proj.weight", q
        yield prefix + "post_attention_layernorm.weight", [shape.d]
        yield prefix + "mlp.gate_proj.weight", [shape.mlp, shape.d]
        yield prefix + "mlp.up_proj.weight", [shape.mlp, shape.d]
        yield prefix + "mlp.down_proj.weight", [shape.d, shape.mlp]
    yield "model.norm.weight", [shape.d]
    yield "lm_head.weight", [shape.vocabulary, shape.d]


def bytes_of(dimensions):
    size = 2
    for n in dimensions:
        size *= n
    return size


def file_bytes(shape):
    return sum(bytes_of(dimensions) for _, dimensions in tensors(shape))


def write_model(folder, shape):
    """Writes config.json and model.safetensors, blocks in order, unless they are there. Returns the file's path."""
    config = dict(model_type="llama", num_hidden_layers=shape.layers, hidden_size=shape.d, num_attention_heads=shape.heads,
                  num_key_value_heads=shape.kv_heads, intermediate_size=shape.mlp, vocab_size=shape.vocabulary,
                  max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
                  hidden_act="silu")
    path = os.path.join(folder, "model.safetensors")
    text = json.dumps(config)
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            if file.read() == text and os.path.getsize(path) > file_bytes(shape):
                return path
    except OSError:
        pass
    os.makedirs(folder, exist_ok=True)
    header, offset = {}, 0
    for name, dimensions in tensors(shape):
        header[name] = dict(dtype="BF16", shape=dimensions, data_offsets=[offset, offset + bytes_of(dimensions)])
        offset += bytes_of(dimensions)
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    # Values of either sign between 2^-7 and 2^-5; no two rows of a matrix are alike, since the noise is no multiple of a row.
    noise = bytearray(2 * (min(32 << 20, offset) + 7))
    noise[0::2] = os.urandom(len(noise) // 2)
    noise[1::2] = os.urandom(len(noise) // 2).translate(bytes(0x3C | b & 0x80 for b in range(256)))
    with open(path + ".partial", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, dimensions in tensors(shape):
            left = bytes_of(dimensions)
            if len(dimensions) == 1:
                file.write(b"\x80\x3f" * dimensions[0])  # 1.0
                continue
            while left:
                left -= file.write(noise[:min(left, len(noise))])
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".partial", path)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        file.write(text)
    return path
