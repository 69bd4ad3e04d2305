# %%
null_space = load("null_space")
# /W_V/singular_values, /W_V/curve_template, /W_V/curve_semantic, /W_K/...: [blocks, rank].
spectra = h5py.File(run / "results/null_space.h5", "r")
print(f"{null_space['verdict']['claim']}: {null_space['verdict']['verdict']}")

# %% figure="null-space-layers"
figure, axes = plt.subplots()
for key, name in {"template": "template", "semantic": "ordinary tokens"}.items():
    share = np.array([layer["matrices"]["W_V"][key] for layer in null_space["layers"]], float)
    axes.plot(share, "o-", label=name)
random = [layer["matrices"]["W_V"]["random"] for layer in null_space["layers"]]
axes.plot(random, "o--", label="random vectors")
shade_plateaus(axes, null_space)
axes.set(xlabel="layer", ylabel="C(k90) of W_V", yscale="log")
axes.legend()
plt.show()

# %% figure="null-space-v null-space-k null-space-q"
for matrix in ("W_V", "W_K", "W_Q"):
    figure, axes = plt.subplots()
    for group, blocks in plateau_blocks(null_space).items():
        for key, name in {"template": "template", "semantic": "ordinary tokens"}.items():
            energy = np.nanmean(spectra[f"{matrix}/curve_{key}"][blocks], axis=0)
            rank = np.arange(len(energy)) + 1
            axes.plot(rank, energy, label=f"{name}, {group}")
    axes.plot(rank, rank / config["d_model"], "--", label="random vectors")
    axes.set(xlabel="R", ylabel="C(R)", yscale="log", title=matrix)
    axes.legend()
plt.show()
