# %%
spikes = load("spikes")
states = spikes["layers"]  # one a residual state, r_0 to r_L
layers = [state["layer"] for state in states]
for plateau in spikes["plateaus"]:
    print(f"r_{plateau['first']} to r_{plateau['last']}: {plateau['tokens']} tokens, "
          f"about {plateau['value']:.0f} ± {plateau['value_se'] or np.nan:.0f} "
          f"in dimension {plateau['dims'][0]}")

# %% figure="spikes-surface-*"
def middle(plateau):
    return (plateau["first"] + plateau["last"]) // 2


plateaus = spikes["plateaus"]
if plateaus:  # before the first spike, on the first plateau, on the last
    birth = min(spike["birth"] for spike in spikes["spikes"])
    chosen_layers = [birth - 1, middle(plateaus[0]), middle(plateaus[-1])]
    prompt, token = spikes["spikes"][0]["prompt"], spikes["spikes"][0]["token"]
else:
    chosen_layers, prompt, token = [len(states) // 2], 0, 0
first = max(0, token - 12)  # 24 tokens around the spike
last = min(first + 24, offsets[prompt + 1] - offsets[prompt])
rows = slice(offsets[prompt] + first, offsets[prompt] + last)

for layer in dict.fromkeys(layer for layer in chosen_layers if layer >= 0):
    magnitude = np.abs(residual(layer)[rows].astype(float))  # [tokens, width]
    axes = plt.figure(figsize=(9, 7), constrained_layout=False).add_subplot(projection="3d")
    for row in reversed(range(len(magnitude))):
        height = magnitude[row]
        axes.plot(range(len(height)), height, zs=first + row, zdir="y", lw=0.8, color="#2a6f9e")
    axes.set(xlabel="dimension", title=f"|h| in layer {layer}")
    ticks = range(first, last, 2)
    labels = [token_label(prompt, token) for token in ticks]
    axes.set_yticks(ticks, labels, fontsize=7, ha="left", va="center")
    axes.set_box_aspect((1, 1.3, 0.7))
    axes.view_init(elev=25, azim=-45)
plt.show()

# %% figure="spikes-magnitude"
median = np.array([state["median"] for state in states], float)
figure, axes = plt.subplots()
for rank, name in enumerate(["largest |h|", "second", "third"]):
    value = [abs(state["top"][rank]["value"]) for state in states]
    axes.plot(layers, value, "o-" if rank == 0 else "-", label=name)
axes.plot(layers, median, label="median |h|")
axes.plot(layers, np.maximum(100, 1000 * median), "--", label="published threshold")
shade_plateaus(axes, spikes)
axes.set(xlabel="layer", ylabel="|h|", yscale="log")
axes.legend()
plt.show()

# %% figure="spikes-writers"
names, shares, errors = [], {"mlp": [], "attention": []}, {"mlp": [], "attention": []}
for writer in spikes["writers"]:
    plateau = spikes["plateaus"][writer["plateau"]]
    level = plateau["values"][plateau["dims"].index(writer["dim"])]  # typical value of the spike
    names.append(f"{writer['block']}:{writer['dim']}")
    for key in shares:
        shares[key].append(writer[key] / level)
        errors[key].append(float(writer[key + "_se"] or np.nan) / abs(level))

place = np.arange(len(names))
# Of a single window there is none, which draws as 0.
errors = {key: np.nan_to_num(np.array(error, float)) for key, error in errors.items()}
figure, axes = plt.subplots()
axes.bar(place - 0.2, shares["mlp"], 0.4, yerr=errors["mlp"], label="MLP")
axes.bar(place + 0.2, shares["attention"], 0.4, yerr=errors["attention"], label="attention")
axes.axhline(0, color="grey", linewidth=0.8)
axes.set_xticks(place, names, rotation=45 if len(names) > 8 else 0)
axes.set(xlabel="block:dimension", ylabel="change / plateau value")
axes.legend()
plt.show()
