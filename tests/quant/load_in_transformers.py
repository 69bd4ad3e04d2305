#!/usr/bin/env python3
"""Loads a folder that spikescope has saved in transformers and compares the logits.

    load_in_transformers.py FOLDER GOLDEN.safetensors       (input_ids [B, T], logits [B * T, V])

Exit code 0: the same but for float32's rounding; 1: not; 77: transformers or compressed-tensors are not there.
"""
import sys

try:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
    import compressed_tensors  # noqa: F401
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def main():
    folder, golden = sys.argv[1:]
    expected = load_file(golden)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(expected["input_ids"]).logits.flatten(0, 1)
    difference = (logits - expected["logits"]).abs().max().item()
    largest = expected["logits"].abs().max().item()
    print(f"logits up to {largest:.4g}, largest difference {difference:.3g}")
    sys.exit(0 if difference <= 1e-5 * largest else 1)


main()
