# %%
null_space = load("null_space")
# /W_V/singular_values, /W_V/curve_template, /W_V/curve_semantic, their errors (_se), /W_K/...:
# [blocks, rank].
spectra = h5py.File(run / "results/null_space.h5", "r")
matrices = {matrix["name"]: matrix for matrix in null_space["matrices"]}
values_from = null_space["matrices"][-1]["name"]  # W_V, or W_UV with latent attention
print(f"{null_space['verdict']['claim']}: {null_space['verdict']['verdict']}")

# %% figure="null-space-layers"
figure, axes = plt.subplots()
rows = [layer["matrices"][values_from] for layer in null_space["layers"]]
for key, name in {"template": "template", "semantic": "ordinary tokens"}.items():
    value = np.array([row[key] for row in rows], float)
    error = np.array([row[key + "_se"] for row in rows], float)  # nan: of a single window
    axes.errorbar(range(len(value)), value, np.nan_to_num(error), fmt="o-", label=name)
axes.plot(np.array([row["random"] for row in rows], float), "o--", label="random vectors")
shade_plateaus(axes, null_space)
axes.set(xlabel="layer", ylabel=f"C(k90) of {values_from}", yscale="log")
axes.legend()
plt.show()

# %% figure="null-space-v null-space-k null-space-q null-space-u* null-space-d* null-space-kr"
for matrix in reversed(matrices):
    figure, axes = plt.subplots()
    for group, blocks in plateau_blocks(null_space).items():
        for key, name in {"template": "template", "semantic": "ordinary tokens"}.items():
            energy = np.nanmean(spectra[f"{matrix}/curve_{key}"][blocks], axis=0)
            error = np.nan_to_num(spectra[f"{matrix}/curve_{key}_se"][blocks]).mean(axis=0)
            rank = np.arange(len(energy)) + 1
            axes.plot(rank, energy, label=f"{name}, {group}")
            axes.fill_between(rank, energy - error, energy + error, alpha=0.2)
    axes.plot(rank, rank / matrices[matrix]["columns"], "--", label="random vectors")
    axes.set(xlabel="R", ylabel="C(R)", yscale="log", title=matrix)
    axes.legend()
plt.show()
