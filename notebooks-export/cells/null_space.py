# %%
null_space = load("null_space")
spectra = h5py.File(run / "results/null_space.h5", "r")  # /W_V/singular_values, /W_V/curve_template, ...: [blocks, rank]
print(f"{null_space['verdict']['claim']}: {null_space['verdict']['verdict']}")

# %% figure="null-space-layers"
figure, axes = plt.subplots()
for key, style, name in (("template", "o-", "template"), ("semantic", "o-", "ordinary tokens"), ("random", "o--", "random vectors")):
    share = np.array([layer["matrices"]["W_V"][key] for layer in null_space["layers"]], float)
    axes.plot(share, style, label=name)
shade_plateaus(axes, null_space)
axes.set(xlabel="layer", ylabel="C(k90) of W_V", yscale="log")
axes.legend()
plt.show()

# %% figure="null-space-v null-space-k null-space-q"
for matrix in ("W_V", "W_K", "W_Q"):
    figure, axes = plt.subplots()
    for group, blocks in plateau_blocks(null_space).items():
        for key, name in (("curve_template", "template"), ("curve_semantic", "ordinary tokens")):
            energy = np.nanmean(spectra[f"{matrix}/{key}"][blocks], axis=0)  # C(R) for R = 1, 2, ...
            axes.plot(np.arange(len(energy)) + 1, energy, label=f"{name}, {group}")
    axes.plot(np.arange(len(energy)) + 1, (np.arange(len(energy)) + 1) / config["d_model"], "--", label="random vectors")
    axes.set(xlabel="R", ylabel="C(R)", yscale="log", title=matrix)
    axes.legend()
plt.show()
