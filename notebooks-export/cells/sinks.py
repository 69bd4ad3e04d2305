# %%
sinks = load("sinks")
sink_arrays = h5py.File(run / "results/sinks.h5", "r")
alpha = sink_arrays["/alpha"][:]  # [blocks, heads]: attention of queries t >= 1 on the first token
rate, rate_se, mean, mean_se = np.array(
    [sinks[key] for key in ("sink_rate", "sink_rate_se", "mean_alpha", "mean_alpha_se")], float)
print(f"{rate:.1%} ± {rate_se:.1%} of {alpha.size} heads are sinks, mean {mean:.3f} ± {mean_se:.3f}")

# %% figure="sinks-heads"
figure, axes = plt.subplots(figsize=(6, 6))
image = axes.imshow(alpha, origin="lower", aspect="auto", vmin=0, vmax=1, interpolation="nearest")
axes.grid(False)
axes.set(xlabel="head", ylabel="block")
figure.colorbar(image, label="attention on the first token")
plt.show()

# %% figure="sinks-spikes"
figure, axes = plt.subplots()
draw(axes, sinks, "sink_rate", "o-", "sink rate")
draw(axes, sinks, "mass", "o-", "mass on spike tokens")
draw(axes, sinks, "latest_mass", "-", "mass on latest spike tokens")
shade_plateaus(axes, sinks)
axes.set(xlabel="block", ylabel="share", ylim=(0, 1))
curves = list(axes.get_lines())
spike = np.array([layer["spike"] for layer in sinks["layers"]], float)
if np.isfinite(spike).any():
    right = axes.twinx()
    curves += right.plot(spike, "o--", color="#e69f00", label="largest spike (right)")
    right.set(ylabel="largest spike |h|", yscale="log")
    right.grid(False)
axes.legend(handles=curves, loc="lower center", bbox_to_anchor=(0.5, 1), ncol=4)
plt.show()

# %% figure="sinks-tokens-*"
received = sink_arrays["/received"]  # [blocks, N]
shown = {}  # by blocks: the prompt with the most spike tokens, and these tokens
for index, plateau in enumerate(sinks["plateaus"]):
    members = sink_arrays["/plateau_tokens"][:]  # rows of plateau, prompt, token
    members = members[members[:, 0] == index]
    if len(members) and plateau["first"] < len(alpha):
        prompt = np.bincount(members[:, 1]).argmax()
        blocks = range(len(alpha))[plateau["first"] : plateau["last"] + 1]
        shown[blocks] = prompt, members[members[:, 1] == prompt, 2]
shown = shown or {range(len(alpha)): (0, [])}

columns = 10
for blocks, (prompt, spike_tokens) in list(shown.items())[:3]:
    length = min(offsets[prompt + 1] - offsets[prompt], 200)
    rows = slice(offsets[prompt], offsets[prompt] + length)
    share = received[blocks[0] : blocks[-1] + 1, rows].mean(axis=0)
    grid = np.full(-(-length // columns) * columns, np.nan)
    grid[:length] = share
    figure, axes = plt.subplots(figsize=(11, 1 + 0.32 * len(grid) / columns))
    image = axes.imshow(grid.reshape(-1, columns), cmap="Blues", norm="log", aspect="auto")
    for token in range(length):
        y, x = divmod(token, columns)
        color = "white" if share[token] > 0.3 * share.max() else "black"
        label = token_label(prompt, token)[:16]
        axes.text(x, y, label, ha="center", va="center", fontsize=7, color=color)
        if token in spike_tokens:
            axes.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec="C1", lw=2))
    axes.set_axis_off()
    axes.set_title(f"blocks {blocks[0]} to {blocks[-1]}, prompt {prompt}; spike tokens outlined")
    figure.colorbar(image, label="attention received")
plt.show()

# %% figure="sinks-bias"
figure, axes = plt.subplots()
draw(axes, sinks, "entropy", "o-", "entropy")
draw(axes, sinks, "bias_ratio", "o-", "|B| / |o|")
draw(axes, sinks, "bias_cosine", "o-", "cosine of B with its mean")
shade_plateaus(axes, sinks)
axes.set(xlabel="block", ylabel="share, cosine")
axes.legend()
plt.show()

# %% figure="sinks-logits-*"
names = [token_label(0, token) for token in range(sink_arrays["/maps/logits"].shape[1])]


def draw_map(values, place, label):
    """One map [queries, keys] of prompt 0, mean over heads; what a query does not see is left white."""
    figure, axes = plt.subplots(figsize=(8, 7))
    image = axes.imshow(values, cmap="viridis", interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.grid(False)
    axes.set(xlabel="key", ylabel="query", title=f"block {place['block']} ({place['what']})")
    figure.colorbar(image, label=label)


for place, logits in zip(sinks["maps"], sink_arrays["/maps/logits"]):
    draw_map(logits, place, "logit before the softmax")
plt.show()

# %% figure="sinks-pattern-*"
draw_map(sink_arrays["/maps/pattern"][-1], sinks["maps"][-1], "attention")
plt.show()
