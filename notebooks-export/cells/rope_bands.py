# %%
rope = load("rope_bands")
rope_arrays = h5py.File(run / "results/rope_bands.h5", "r")  # /frequencies, /phase_template, /zone_template, ...
print(f"{rope['verdict']['claim']}: {rope['verdict']['verdict']}")


def turning_blocks():
    """Name and numbers of the blocks of each plateau that have rotary positions."""
    groups = {name: [layer["layer"] for layer in rope["layers"][blocks] if layer["pairs"]]
              for name, blocks in plateau_blocks(rope).items()}
    return {name: blocks for name, blocks in groups.items() if blocks}


# %% figure="rope-bands-energy"
figure, axes = plt.subplots()
first_stable = 0
for group, blocks in turning_blocks().items():
    for key, style, name in (("energy_template", "-", "template"), ("energy_semantic", "--", "ordinary tokens")):
        axes.plot(np.nanmean(rope_arrays[key][blocks], axis=(0, 1)), style, label=f"{name}, {group}")
    for block in blocks:  # pairs that turn by at most 45 degrees, in all of these layers
        first_stable = max(first_stable, rope["layers"][block]["pairs"] - rope["layers"][block]["stable_pairs"])
axes.axvspan(first_stable - 0.5, rope_arrays["energy_template"].shape[2] - 0.5, color="grey", alpha=0.15, linewidth=0)
axes.set(xlabel="pair", ylabel="share of the energy of keys", yscale="log")
axes.legend()
plt.show()

# %% figure="rope-bands-logit-*"
for group, blocks in turning_blocks().items():
    distances = 1 + min(rope["layers"][block]["dmax"] for block in blocks)
    figure, axes = plt.subplots()
    for key, name, color in (("template", "template", "#0072b2"), ("semantic", "mean ordinary key", "#d55e00")):
        logit = rope_arrays[f"logit_{key}"][blocks, :, :distances].mean(axis=(0, 1))
        without_rope = np.mean([rope["layers"][block][f"logit_{key}_unturned"] for block in blocks])
        axes.plot(logit, color=color, label=name)
        axes.axhline(without_rope, color=color, linestyle="--", label=f"{name}, without RoPE")
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
