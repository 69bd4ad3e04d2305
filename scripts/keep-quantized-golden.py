#!/usr/bin/env python3
"""Makes tests/golden_quantized/compressed_tensors: a tiny LLaMA whose weights Hugging Face's own packages have quantized in
several ways, with the weights and the logits that they make of it.

    scripts/keep-quantized-golden.py [FOLDER]

Needs transformers, compressed-tensors and safetensors (made with 5.23.0, 0.20.0, 0.8.0).
"""
import json
import pathlib
import shutil
import sys

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

# Which layers, and how: together all that a quantized checkpoint can say of its weights.
WAYS = {
    r"re:.*layers.0.*(q|k)_proj$": (4, "group", False, "pack-quantized"),
    r"re:.*layers.0.*(v|o)_proj$": (3, "group", True, "pack-quantized"),
    r"re:.*layers.0.*(gate|up)_proj$": (8, "channel", True, "int-quantized"),
    r"re:.*layers.0.*down_proj$": (8, "channel", False, "naive-quantized"),
    r"re:.*layers.1.*(q|k)_proj$": (2, "group", False, "pack-quantized"),
    r"re:.*layers.1.*(v|o)_proj$": (8, "tensor", True, "pack-quantized"),
    r"re:.*layers.1.*(gate|up)_proj$": (3, "channel", False, "pack-quantized"),
    r"re:.*layers.1.*down_proj$": (5, "group", False, "pack-quantized"),
}
GROUP = 16


def group_of(target, way):
    bits, strategy, symmetric, layout = way
    weights = {"num_bits": bits, "strategy": strategy, "symmetric": symmetric}
    if strategy == "group":
        weights["group_size"] = GROUP
    return {"targets": [target], "weights": weights, "format": layout}


def fill_scales(module):
    """Scales and zero points from the smallest and largest weights, as RTN has them."""
    args = module.quantization_scheme.weights
    weight = module.weight.detach()
    if args.strategy == "group":
        weight = weight.reshape(weight.shape[0], -1, args.group_size)
    dims = {"group": -1, "channel": 1}.get(args.strategy)
    low = weight.amin(dim=dims, keepdim=args.strategy == "channel") if dims is not None else weight.min().reshape(1)
    high = weight.amax(dim=dims, keepdim=args.strategy == "channel") if dims is not None else weight.max().reshape(1)
    scale, zero = calculate_qparams(low, high, args)
    module.weight_scale.data.copy_(scale)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.data.copy_(zero)


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests" / "golden_quantized" / "compressed_tensors"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).eval()
    groups = {f"group_{i}": group_of(target, way) for i, (target, way) in enumerate(WAYS.items())}
    quantization = QuantizationConfig(config_groups=groups, ignore=["lm_head"], format="mixed-precision")
    apply_quantization_config(model, quantization)
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            fill_scales(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)

    # Not by from_pretrained, which does not load packed zero points.
    compressor.decompress_model(model)
    ids = torch.randint(0, config.vocab_size, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        golden = {"input_ids": ids, "logits": model(ids).logits.contiguous()}
    for name, module in model.named_modules():
        if name.endswith("_proj"):
            golden[name + ".weight"] = module.weight.detach().contiguous()
    save_file(golden, folder / "golden.safetensors")
    print(json.dumps(json.loads((folder / "config.json").read_text())["quantization_config"], indent=1))
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:8,} {file.name}")


main()
