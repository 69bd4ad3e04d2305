# %%
convergence = load("convergence")
# Mean vectors of the spike tokens, [blocks, width].
templates = h5py.File(run / "results/convergence.h5", "r")["/templates"]
print(f"{convergence['verdict']['claim']}: {convergence['verdict']['verdict']}")


def draw_groups(axes, key):
    """A measure of each group of tokens by layer, with its standard error over windows."""
    groups = {
        "spike": "spike tokens",
        "varying": "varying spike tokens",
        "random_first": "random first tokens",
        "latest": "latest or first tokens, no spikes",
        "ordinary": "ordinary tokens",
    }
    for group, name in groups.items():
        rows = [layer[group] or {} for layer in convergence["layers"]]  # None: no such tokens
        value = np.array([row.get(key) for row in rows], float)
        error = np.array([row.get(key + "_se") for row in rows], float)
        if np.isfinite(value).any():
            style = "o--" if group in ("random_first", "latest") else "o-"
            axes.plot(value, style, label=name)
            axes.fill_between(range(len(value)), value - error, value + error, alpha=0.2)
    shade_plateaus(axes, convergence)
    axes.legend()


# %% figure="convergence-cosine"
figure, axes = plt.subplots()
draw_groups(axes, "cosine")
axes.set(xlabel="layer", ylabel="mean cosine")
plt.show()

# %% figure="convergence-deviation"
figure, axes = plt.subplots()
draw_groups(axes, "deviation")
axes.set(xlabel="layer", ylabel="deviation", yscale="log")
plt.show()

# %% figure="convergence-layers"
cosine = np.array(convergence["across_layers"], float)
figure, axes = plt.subplots(figsize=(6.5, 5.5))
image = axes.imshow(cosine, origin="lower", vmax=1, interpolation="nearest")
axes.grid(False)
axes.set(xlabel="layer", ylabel="layer")
figure.colorbar(image, label="cosine of templates")
plt.show()
