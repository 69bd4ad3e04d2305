# %%
scan = load("scan")
# /bound, /surprise: [blocks, dimensions]; bound is the largest write of any neuron of a block.
writes = h5py.File(run / "results/scan.h5", "r")
for candidate in scan["dims"][:5]:
    print(f"dimension {candidate['dim']}: expected by chance 1e{candidate['log10_expected']:.1f}, "
          f"largest write {candidate['bound']:.0f} in block {candidate['bound_block']}")
for neuron in scan["neurons"][:5]:
    print(f"block {neuron['block']} neuron {neuron['index']} {neuron['effect']} {neuron['dim']}")

# %% figure="scan-surprise"
candidates = [candidate["dim"] for candidate in scan["dims"]]
surprise = writes["surprise"][:][:, candidates].T / np.log(10)  # -log10 of chance
figure, axes = plt.subplots(figsize=(8, 0.3 * len(candidates) + 1.5))
picture = axes.imshow(surprise, aspect="auto", cmap="viridis", interpolation="nearest")
axes.set_yticks(range(len(candidates)), candidates)
axes.set(xlabel="block", ylabel="dimension")
axes.grid(False)
figure.colorbar(picture, label="-log10 of chance")
plt.show()

# %% figure="scan-bound"
bound = writes["bound"][:]
leading = scan["leading"] or candidates[:1]
figure, axes = plt.subplots()
for dim in leading:
    axes.plot(bound[:, dim], "o-", label=f"dimension {dim}")
axes.plot(np.median(bound, axis=1), "o--", label="median dimension")
axes.set(xlabel="block", ylabel="largest write", yscale="log")
axes.legend()
plt.show()
