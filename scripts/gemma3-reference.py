#!/usr/bin/env python3
"""Records what transformers computes on Gemma 3 270M's GGUF, for tests/families/gemma3_test.cpp.

    spikescope tokenize --model gemma-3-270m "$(head -c 2600 wiki.valid.txt)" > text.json
    scripts/gemma3-reference.py MODEL.gguf text.json        (needs torch, transformers and gguf; float64, eager attention)

The text should be longer than the sliding window of 512 tokens.
"""
import json
import pathlib
import sys

import torch
import transformers

# "<bos>Summer is warm. Winter is cold.\n"
PROMPT = [2, 35734, 563, 6962, 236761, 18568, 563, 7445, 236761, 107]
OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/families/gemma-3-270m.json"


def top(values, count):
    flat = values.abs().flatten()
    width = values.shape[1]
    return [[int(i) // width, int(i) % width, float(values.flatten()[i])] for i in flat.topk(count).indices]


def run(model, ids):
    states = {}
    for i, layer in enumerate(model.model.layers):
        layer.register_forward_hook(
            lambda module, args, out, i=i: states.__setitem__(i, (out[0] if isinstance(out, tuple) else out).reshape(len(ids), -1))
        )
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    return {
        "ids": ids,
        "states": [
            {"top": top(states[i], 3), "median_abs": float(states[i].abs().median()), "l2_last": float(states[i][-1].norm())}
            for i in range(len(states))
        ],
        "nll": [round(float(x), 5) for x in losses[-20:]],
        "nll_mean": float(losses.mean()),
    }


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    text = json.loads(pathlib.Path(sys.argv[2]).read_text())["ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float64, attn_implementation="eager"
    ).eval()
    golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}}
    golden["runs"] = {"prompt": run(model, PROMPT), "text": run(model, text)}
    OUT.write_text(json.dumps(golden) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(text)} tokens of text")


main()
