# %%
interventions = load("interventions")
baseline = interventions["baseline"]
print(f"{'loss':>9} {'difference':>12}")
print(f"{baseline['loss']:9.4f} {'':>12}  baseline")
for intervention in interventions["runs"]:
    loss, difference = np.array([intervention["loss"], intervention["difference"]], float)
    print(f"{loss:9.4f} {difference:+12.4f}  {intervention['name']}")

# %% figure="interventions-loss"
def plateau_name(intervention):
    """Whose spikes are changed: one plateau's, all, or what the user asked for."""
    if intervention["given"]:
        return "yours"
    if intervention["plateau"] is None:
        return "all plateaus"
    plateau = interventions["plateaus"][intervention["plateau"]]
    return f"layers {plateau['first']} to {plateau['last']}"


runs = interventions["runs"]
names = list(dict.fromkeys(intervention["what"] for intervention in runs))
colors = {}
figure, axes = plt.subplots(figsize=(10, 5))
for place, name in enumerate(names):
    same = [intervention for intervention in runs if intervention["what"] == name]
    width = 0.8 / max(2, len(same))
    for index, intervention in enumerate(same):
        rise, error = np.array([intervention["difference"], intervention["difference_se"]], float)
        x = place + (index - (len(same) - 1) / 2) * width
        group = plateau_name(intervention)
        label = "" if group in colors else group
        color = colors.setdefault(group, f"C{len(colors)}")
        axes.bar(x, rise, width, yerr=error, label=label, color=color)
axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
axes.set(ylabel="rise of the loss (nats a token)")
axes.legend()
plt.show()

# %% figure="interventions-attention"
tested = [one["plateau"] for one in interventions["runs"] if one["what"] == "zero"]
largest = max(tested, key=lambda plateau: abs(interventions["plateaus"][plateau]["value"]))
shown = [("zero", largest), ("writers off", largest), ("templates inserted", None)]
figure, axes = plt.subplots()
axes.plot(np.array(baseline["spike_attention"], float), "o-", label="baseline")
for intervention in interventions["runs"]:
    if (intervention["what"], intervention["plateau"]) in shown:
        attention = np.array(intervention["spike_attention"], float)
        axes.plot(attention, "o-", label=intervention["name"])
shade_plateaus(axes, interventions)
axes.set(xlabel="block", ylabel="attention on spike tokens")
axes.legend()
plt.show()
