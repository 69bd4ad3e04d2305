# %%
rope = load("rope_bands")
# /energy_template, /phase_template, /zone_template, ...: [blocks, heads, pairs].
rope_arrays = h5py.File(run / "results/rope_bands.h5", "r")
print(f"{rope['verdict']['claim']}: {rope['verdict']['verdict']}")


def turning_blocks():
    """Name and numbers of the blocks of each plateau that have rotary positions."""
    groups = {}
    for name, blocks in plateau_blocks(rope).items():
        turning = [layer["layer"] for layer in rope["layers"][blocks] if layer["pairs"]]
        if turning:
            groups[name] = turning
    return groups


# %% figure="rope-bands-energy"
figure, axes = plt.subplots()
first_stable = 0
for group, blocks in turning_blocks().items():
    of_template = np.nanmean(rope_arrays["energy_template"][blocks], axis=(0, 1))
    of_ordinary = np.nanmean(rope_arrays["energy_semantic"][blocks], axis=(0, 1))
    axes.plot(of_template, "-", label=f"template, {group}")
    axes.plot(of_ordinary, "--", label=f"ordinary tokens, {group}")
    for layer in [rope["layers"][block] for block in blocks]:
        first_stable = max(first_stable, layer["pairs"] - layer["stable_pairs"])
# Pairs that turn by at most 45 degrees in all of these layers.
axes.axvspan(first_stable - 0.5, len(of_template) - 0.5, color="grey", alpha=0.15, linewidth=0)
axes.set(xlabel="pair", ylabel="share of the energy of keys", yscale="log")
axes.legend()
plt.show()

# %% figure="rope-bands-logit-*"
for group, blocks in turning_blocks().items():
    distances = 1 + min(rope["layers"][block]["dmax"] for block in blocks)
    figure, axes = plt.subplots()
    for key, name, color in ("template", "template", "C0"), ("semantic", "mean ordinary key", "C1"):
        logit = rope_arrays[f"logit_{key}"][blocks, :, :distances].mean(axis=(0, 1))
        unturned = [rope["layers"][block][f"logit_{key}_unturned"] for block in blocks]
        axes.plot(logit, color=color, label=name)
        axes.axhline(np.mean(unturned), color=color, ls="--", label=f"{name}, without RoPE")
    axes.set(xlabel="distance in tokens", ylabel="logit", title=group)
    axes.legend()
plt.show()

# %% figure="rope-bands-zone"
figure, axes = plt.subplots()
draw(axes, rope, "zone_share", "o-", "template")
draw(axes, rope, "zone_share_semantic", "o-", "mean ordinary key")
draw(axes, rope, "zone_pairs", "o--", "share of the pairs")
shade_plateaus(axes, rope)
axes.set(xlabel="layer", ylabel="share of the amplitude in the zone")
axes.legend()
plt.show()

# %% figure="rope-bands-sigma"
figure, axes = plt.subplots()
draw(axes, rope, "sigma_template", "o-", "template")
draw(axes, rope, "sigma_semantic", "o-", "mean ordinary key")
draw(axes, rope, "sigma_equal_length", "o--", "template at equal length")
shade_plateaus(axes, rope)
axes.set(xlabel="layer", ylabel="standard deviation of the logit", yscale="log")
axes.legend()
plt.show()
