# %%
sinks = load("sinks")
sink_arrays = h5py.File(run / "results/sinks.h5", "r")
alpha = sink_arrays["/alpha"][:]  # [blocks, heads]: attention that queries t >= 1 give to the first token
print(f"{sinks['sink_rate']:.1%} of {alpha.size} heads are sinks; mean alpha {sinks['mean_alpha']:.3f}")

# %% figure="sinks-heads"
figure, axes = plt.subplots(figsize=(6, 6))
image = axes.imshow(alpha, origin="lower", aspect="auto", vmin=0, vmax=1, interpolation="nearest")
axes.grid(False)
axes.set(xlabel="head", ylabel="block")
figure.colorbar(image, label="attention on the first token")
plt.show()

# %% figure="sinks-spikes"
figure, axes = plt.subplots()
axes.plot((alpha > 0.3).mean(axis=1), "o-", label="sink rate")
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
members = sink_arrays["/plateau_tokens"][:] if "/plateau_tokens" in sink_arrays else np.empty((0, 3), int)
shown = []  # name, blocks, prompt with the most spike tokens, these tokens
for index, plateau in enumerate(sinks["plateaus"]):
    of_plateau = members[members[:, 0] == index]
    if len(of_plateau) and plateau["first"] < len(alpha):
        prompt = np.bincount(of_plateau[:, 1]).argmax()
        shown.append((f"blocks {plateau['first']} to {plateau['last']}", slice(plateau["first"], plateau["last"] + 1), prompt,
                      of_plateau[of_plateau[:, 1] == prompt, 2]))

columns = 10
for name, blocks, prompt, spike_tokens in shown[:3] or [("all blocks", slice(None), 0, [])]:
    length = min(offsets[prompt + 1] - offsets[prompt], 200)
    share = received[blocks, offsets[prompt] : offsets[prompt] + length].mean(axis=0)
    grid = np.full(-(-length // columns) * columns, np.nan)
    grid[:length] = share
    figure, axes = plt.subplots(figsize=(11, 1 + 0.32 * len(grid) / columns))
    image = axes.imshow(grid.reshape(-1, columns), cmap="Blues", norm="log", aspect="auto")
    for token in range(length):
        y, x = divmod(token, columns)
        axes.text(x, y, token_label(prompt, token)[:16], ha="center", va="center", fontsize=7,
                  color="white" if share[token] > 0.3 * share.max() else "black")
        if token in spike_tokens:
            axes.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#d55e00", linewidth=2))
    axes.set_axis_off()
    axes.set_title(f"{name}, prompt {prompt}; spike tokens outlined")
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
