# %%
alignment = load("alignment")
for verdict in (alignment["verdict"], alignment["value_verdict"]):
    print(f"{verdict['claim']}: {verdict['verdict']}")


# %% figure="alignment-keys"
figure, axes = plt.subplots()
draw(axes, alignment, "cos_template", "o-", "cos(q, k*)")
draw(axes, alignment, "cos_other", "o-", "cos(q, k)")
draw(axes, alignment, "cos_input", "o--", "cos(x, x*)")
shade_plateaus(axes, alignment)
axes.set(xlabel="layer", ylabel="mean cosine")
axes.legend()
plt.show()

# %% figure="alignment-logits"
figure, axes = plt.subplots()
draw(axes, alignment, "z", "o-", "z of the template's key")
draw(axes, alignment, "logit_gap", "o--", "logit gap")
shade_plateaus(axes, alignment)
axes.set(xlabel="layer", ylabel="standard deviations, logit")
axes.legend()
plt.show()

# %% figure="alignment-heads"
gap = [[head["logit_gap"] for head in layer["heads"]] for layer in alignment["layers"]]
figure, axes = plt.subplots(figsize=(6, 6))
image = axes.imshow(np.array(gap, float), origin="lower", aspect="auto", interpolation="nearest")
axes.grid(False)
axes.set(xlabel="head", ylabel="layer")
figure.colorbar(image, label="logit gap")
plt.show()

# %% figure="alignment-values"
figure, axes = plt.subplots()
draw(axes, alignment, "drain", "o-", "value drain")
draw(axes, alignment, "drain_norm_factor", "o--", "||x*|| / ||x||")
draw(axes, alignment, "v_gain_template", "o-", "gain of x* over random")
draw(axes, alignment, "v_gain_semantic", "o-", "gain of x over random")
shade_plateaus(axes, alignment)
axes.set(xlabel="layer", ylabel="ratio", yscale="log")
axes.legend()
plt.show()
