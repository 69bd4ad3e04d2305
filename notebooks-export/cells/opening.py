# %%
import json
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np

run = Path("RUN")  # folder of the run, relative to this notebook's own folder

plt.rcParams.update({
    "figure.figsize": (8, 4.5),
    "figure.constrained_layout.use": True,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.markersize": 4,
    "axes.prop_cycle": plt.cycler(
        color=["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"]),
})

# %% [markdown]
# ## The dump
#
# `index.h5` shows the dump as one file; h5py follows its links to the files of the layers. A
# dataset is read when it is sliced, so a large dump costs no memory.

# %%
dump = h5py.File(run / "dump/index.h5", "r")
config = json.loads(dump.attrs["config"])
for name in ("model_name", "command", "dtype", "storage", "bos"):
    print(f"{name:>12}: {dump.attrs[name]}")
print(f"{'config':>12}: {config}")

# %% [markdown]
# What was captured of a block in the middle, and what there is besides blocks. `N` rows are the
# tokens of all prompts, one after the other.

# %%
def show(name, item):
    if isinstance(item, h5py.Dataset):
        print(f"{item.name:<32} {item.dtype} {item.shape}")


print(f"N = {len(dump['/tokens/ids'])}")
for group in ("blocks", "sinks", "writers"):
    numbers = sorted(dump.get(group, []), key=int)
    if numbers:
        dump[f"/{group}/{numbers[len(numbers) // 2]}"].visititems(show)
print("besides:", *("/" + name for name in dump if name not in ("blocks", "sinks", "writers")))

# %% [markdown]
# Tokens: prompt `p` is the rows `offsets[p]` to `offsets[p + 1]`.

# %%
ids, offsets = dump["/tokens/ids"][:], dump["/tokens/offsets"][:]
pieces = dump["/tokens/strings"].asstr()[:]  # as the vocabulary spells them


def readable(piece):
    """A piece with the signs for spaces and new lines resolved."""
    return piece.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n")


def token_label(prompt, token):
    """Place and text of a token: 3 ' the'."""
    row = offsets[prompt] + token
    text = readable(pieces[row]) or f"id {ids[row]}"
    return f"{token} {text!r}".replace("$", r"\$")  # matplotlib takes $ for formulas


print(len(offsets) - 1, "prompts of", np.diff(offsets), "tokens; the first begins with")
print(readable("".join(pieces[: min(40, offsets[1])])))

# %% [markdown]
# ## A hidden state
#
# The residual state r_0 enters block 0, r_l leaves block l - 1. Here: the largest values of one
# state; change `layer` to see another.

# %%
def residual(layer):
    """Residual state r_l of all tokens, an h5py dataset [N, width]."""
    return dump["/blocks/0/resid_pre" if layer == 0 else f"/blocks/{layer - 1}/resid_post"]


layer = max(1, config["n_layers"] // 2)
if f"/blocks/{layer - 1}/resid_post" in dump:
    state = residual(layer)[:].astype(float)
    print(f"r_{layer}: {state.shape}, median |h| {np.median(np.abs(state)):.3g}")
    for place in np.argsort(-np.abs(state), axis=None)[:5]:
        row, dim = np.unravel_index(place, state.shape)
        prompt = np.searchsorted(offsets, row, side="right") - 1
        label = token_label(prompt, row - offsets[prompt])
        print(f"  prompt {prompt}, token {label}, dimension {dim}: {state[row, dim]:.1f}")
else:
    print("the residual stream was not captured")

# %% [markdown]
# ## Results
#
# `results/NAME.json` holds what an analysis found, `results/NAME.h5` its larger arrays.

# %%
def load(name):
    """Results of an analysis; null is None."""
    return json.loads((run / "results" / f"{name}.json").read_text(encoding="utf-8"))


def draw(axes, results, key, style, name):
    """A number of every layer, with its standard error over windows where there is one."""
    value = np.array([layer[key] for layer in results["layers"]], float)
    error = np.array([layer.get(key + "_se") for layer in results["layers"]], float)
    axes.plot(value, style, label=name)
    axes.fill_between(range(len(value)), value - error, value + error, alpha=0.2)


def shade_plateaus(axes, results):
    """Grey where spikes stand: the plateaus among the layers."""
    for plateau in results["plateaus"]:
        first, last = plateau["first"] - 0.25, plateau["last"] + 0.25
        axes.axvspan(first, last, color="grey", alpha=0.15, linewidth=0)


def plateau_blocks(results):
    """Name and blocks of each plateau; without any, of all blocks together."""
    groups = {}
    for first, last in [(plateau["first"], plateau["last"]) for plateau in results["plateaus"]]:
        if first < len(results["layers"]):  # no block reads the last state
            groups[f"layers {first} to {last}"] = slice(first, last + 1)
    return groups or {"all layers": slice(None)}


for path in sorted((run / "results").glob("*.json")):
    print(f"{path.name:<20}", ", ".join(load(path.stem)))
