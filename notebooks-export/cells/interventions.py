# %%
interventions = load("interventions")
baseline = interventions["baseline"]
print(f"{'loss':>9} {'± se':>7} {'difference':>12} {'± se':>7}")
for intervention in [baseline, *interventions["runs"]]:
    keys = ("loss", "se", "difference", "difference_se")  # the baseline has no difference
    loss, se, difference, difference_se = np.array([intervention.get(key) for key in keys], float)
    print(f"{loss:9.4f} {se:7.4f} {difference:+12.4f} {difference_se:7.4f}  {intervention['name']}")

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
changed = [one for one in interventions["runs"] if (one["what"], one["plateau"]) in shown]
for intervention in [baseline, *changed]:
    attention = np.array(intervention["spike_attention"], float)
    # Of a single window there is none, which draws as 0.
    error = np.nan_to_num(np.array(intervention["spike_attention_se"], float))
    axes.errorbar(range(len(attention)), attention, error, fmt="o-", label=intervention["name"])
shade_plateaus(axes, interventions)
axes.set(xlabel="block", ylabel="attention on spike tokens")
axes.legend()
plt.show()
