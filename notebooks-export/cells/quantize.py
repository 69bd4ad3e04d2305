# %%
quantized = load("quantize")
# /nll: [rows, windows], in the order of the rows; /largest_h, /new_spikes: [rows, blocks].
losses = h5py.File(run / "results/quantize.h5", "r")
plain, *rows = quantized["rows"]  # the model as it is, and what was tried


def row_bits(row):
    """Bits of activations and weights: A8 W4."""
    bits = [("A", row["bits_activation"]), ("W", row["bits_weight"])]
    return " ".join(f"{letter}{n}" for letter, n in bits if n) or "nothing rounded"


print(f"{'perplexity':>12} {'dNLL':>9} {'± se':>7} {'largest':>9}")
for row in quantized["rows"]:
    difference, error = np.array([row["dnll"], row["dnll_se"]], float)
    print(f"{row['perplexity']:12.3f} {difference:+9.4f} {error:7.4f} {row['largest_h']:9.0f}"
          f"  {row['method']}, {row_bits(row)}")
methods = list(dict.fromkeys(row["method"] for row in rows))
kinds = list(dict.fromkeys(row_bits(row) for row in rows))


def draw_by_bits(axes, value, error):
    """A bar a row, beside those of the same method."""
    width = 0.8 / max(1, len(kinds))
    for index, kind in enumerate(kinds):
        same = [row for row in rows if row_bits(row) == kind]
        x = np.array([methods.index(row["method"]) for row in same])
        y, e = np.array([value(row) for row in same]), np.array([error(row) for row in same], float)
        x = x + (index - (len(kinds) - 1) / 2) * width
        axes.bar(x, y, width, yerr=np.nan_to_num(e), label=kind)
    axes.axhline(value(plain), color="grey", linestyle="--", label="as it is")
    axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right")
    axes.legend()


# %% figure="quantize-perplexity"
figure, axes = plt.subplots(figsize=(10, 5))
draw_by_bits(axes, lambda row: row["perplexity"], lambda row: row["perplexity"] * (row["dnll_se"] or 0))
axes.set(ylabel="perplexity", yscale="log")
plt.show()

# %% figure="quantize-loss"
figure, axes = plt.subplots(figsize=(10, 5))
for kind in kinds:
    same = [row for row in rows if row_bits(row) == kind and row["dnll"] > 0]
    x, y = [methods.index(row["method"]) for row in same], [row["dnll"] for row in same]
    axes.errorbar(x, y, [row["dnll_se"] or 0 for row in same], fmt="o", label=kind)
axes.set_xticks(range(len(methods)), methods, rotation=30, ha="right")
axes.set(ylabel="rise of the loss (nats a token)", yscale="log")
axes.legend()
plt.show()

# %% figure="quantize-answers"
if "zero_shot" in plain:
    figure, axes = plt.subplots(figsize=(10, 5))
    answers = lambda key: lambda row: row["zero_shot"][key] or 0
    draw_by_bits(axes, answers("average"), answers("average_se"))
    axes.set(ylabel="right answers")
    plt.show()

# %% figure="quantize-largest"
figure, axes = plt.subplots()
first = {}  # a method's first row stands for it
for index, row in enumerate(quantized["rows"]):
    first.setdefault(row["method"], index)
for method, index in first.items():
    axes.plot(losses["largest_h"][index], label=method)
axes.set(xlabel="block", ylabel="largest |h|", yscale="log")
axes.legend(fontsize="small", ncols=2)
plt.show()
