#!/usr/bin/env python3
"""Times one of the Python tools that Spikescope's users would take instead, on the job of `spikescope capture`.

The job is the same for every peer: take windows of token ids through a checkpoint in float32, write the residual stream after
every block to an HDF5 file, and reduce the attention of every head to its mean weight on token 0.

  hf-hooks          transformers, eager attention, forward hooks that write each state and reduce each layer's attention as
                    they come: what an experienced user would write
  hf-eager          transformers with output_hidden_states and output_attentions
  hf-sdpa           transformers with its fast attention, which has no weights to give: hidden states alone
  transformer-lens  TransformerBridge.run_with_cache
  nnsight           LanguageModel.trace with saved outputs

Prints one JSON line: peer, tokens, length, seconds (the best of --repeat, loading excluded), tokens_per_s, load_s,
peak_rss_mib, and the versions used. A peer that needs more than --memory-gib of address space is stopped, and its line says
"out_of_memory": true. benchmarks/run.sh calls this for all peers and prints the table.
"""
import argparse
import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import time

import h5py
import torch

ATTENTION = {"hf-sdpa": "sdpa"}  # eager for all others
ENOUGH_S = 60  # no repetition begins after so much measuring
PACKAGES = {"transformer-lens": ["transformer-lens"], "nnsight": ["nnsight"]}


def sink_mass(attention):
    """[heads, T, T] probabilities -> [heads] mean weight on token 0 over the queries 1..T-1."""
    return attention[:, 1:, 0].mean(-1)


def first(output):
    """A module's output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def write(path, states, sinks):
    with h5py.File(path, "w") as file:
        for name, state in states.items():
            file[name] = state.numpy()
        if sinks:
            file["sinks"] = torch.stack(sinks).numpy()


def run_transformers(model, windows, path, with_attention):
    states, sinks = {}, []
    for w, ids in enumerate(windows):
        out = model(ids, output_hidden_states=True, output_attentions=with_attention, use_cache=False, logits_to_keep=1)
        for layer, state in enumerate(out.hidden_states):
            states[f"{w}/{layer}"] = state[0].clone()
        if with_attention:
            sinks.append(torch.stack([sink_mass(attention[0]) for attention in out.attentions]))
    write(path, states, sinks)


def run_hooks(model, windows, path):
    mass, window, handles, sinks = {}, [0], [], []
    with h5py.File(path, "w") as file:
        for layer, block in enumerate(model.model.layers):
            def keep_mass(module, args, output, layer=layer):
                mass[layer] = sink_mass(output[1][0])

            def keep_state(module, args, output, layer=layer):
                file[f"{window[0]}/{layer}"] = first(output)[0].numpy()

            handles.append(block.self_attn.register_forward_hook(keep_mass))
            handles.append(block.register_forward_hook(keep_state))
        for w, ids in enumerate(windows):
            window[0] = w
            model(ids, use_cache=False, logits_to_keep=1)
            sinks.append(torch.stack([mass[layer] for layer in sorted(mass)]))
        for handle in handles:
            handle.remove()
        file["sinks"] = torch.stack(sinks).numpy()


def run_lens(model, windows, path):
    def wanted(name):
        return name.endswith(("hook_resid_post", "hook_pattern", "hook_out"))

    states, sinks = {}, []
    for w, ids in enumerate(windows):
        _, cache = model.run_with_cache(ids, names_filter=wanted, return_type=None)
        rows = []
        for layer in range(model.cfg.n_layers):
            states[f"{w}/{layer}"] = cache[f"blocks.{layer}.hook_resid_post"][0].clone()
            rows.append(sink_mass(cache[f"blocks.{layer}.attn.hook_pattern"][0]))
        sinks.append(torch.stack(rows))
    write(path, states, sinks)


def run_nnsight(model, windows, path):
    states, sinks = {}, []
    for w, ids in enumerate(windows):
        hidden, weights = [], []
        with model.trace(ids):
            for block in model.model.layers:
                weights.append(block.self_attn.output[1].save())
                hidden.append(block.output.save())
        for layer, state in enumerate(hidden):
            state = first(state)
            states[f"{w}/{layer}"] = state.reshape(-1, state.shape[-1]).clone()
        sinks.append(torch.stack([sink_mass(attention[0]) for attention in weights]))
    write(path, states, sinks)


PEERS = {
    "hf-hooks": run_hooks,
    "hf-eager": lambda model, windows, path: run_transformers(model, windows, path, True),
    "hf-sdpa": lambda model, windows, path: run_transformers(model, windows, path, False),
    "transformer-lens": run_lens,
    "nnsight": run_nnsight,
}


def load(options):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, name = os.path.split(os.path.abspath(options.gguf))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation=ATTENTION.get(options.peer, "eager")).eval()
    if options.peer == "transformer-lens":
        from transformer_lens.model_bridge import TransformerBridge
        model = TransformerBridge.boot_transformers(options.lens_name, hf_model=model, tokenizer=tokenizer, device="cpu")
    if options.peer == "nnsight":
        from nnsight import LanguageModel
        model.config.output_attentions = True
        model = LanguageModel(model, tokenizer=tokenizer)
    return model, tokenizer


def read_windows(options, tokenizer):
    if options.ids:
        rows = json.load(open(options.ids, encoding="utf-8"))[: options.windows]
        return [torch.tensor([row[: options.length]]) for row in rows]
    windows, length = options.windows or 4, options.length or 512
    text = open(options.text, encoding="utf-8").read()[: windows * length * 8]
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    if len(ids) < windows * length:
        sys.exit(f"{options.text}: {len(ids)} tokens, {windows} windows of {length} need {windows * length}")
    return list(ids[: windows * length].view(windows, 1, length))


def is_out_of_memory(error):
    return isinstance(error, MemoryError) or "memory" in str(error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, choices=PEERS)
    parser.add_argument("--gguf", required=True, help="the checkpoint")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", help="text file to cut windows from")
    source.add_argument("--ids", help="JSON array of arrays of token ids: the windows themselves")
    parser.add_argument("--windows", type=int, help="how many windows (default: 4 of --text, all of --ids)")
    parser.add_argument("--length", type=int, help="tokens a window (default: 512 of --text, all of --ids)")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory-gib", type=float, default=18, help="limit of the address space")
    parser.add_argument("--lens-name", default="HuggingFaceTB/SmolLM2-135M-Instruct",
                        help="TransformerLens's name for the model in --gguf")
    options = parser.parse_args()

    limit = int(options.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    model, tokenizer = load(options)
    load_s = time.perf_counter() - began
    windows = read_windows(options, tokenizer)
    tokens = sum(ids.numel() for ids in windows)
    result = dict(peer=options.peer, tokens=tokens, length=windows[0].numel(), threads=options.threads)

    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeat):
            began = time.perf_counter()
            try:
                PEERS[options.peer](model, windows, os.path.join(folder, "states.h5"))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                print(json.dumps(dict(result, out_of_memory=True)))
                return
            times.append(time.perf_counter() - began)
            if sum(times) > ENOUGH_S:
                break
    packages = ["torch", "transformers", *PACKAGES.get(options.peer, [])]
    print(json.dumps(dict(result, seconds=round(min(times), 3), tokens_per_s=round(tokens / min(times), 1),
                          load_s=round(load_s, 1),
                          peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                          versions={name: importlib.metadata.version(name) for name in packages},
                          cuda=torch.version.cuda)))


if __name__ == "__main__":
    main()
