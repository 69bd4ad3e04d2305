#!/usr/bin/env python3
"""How far --dtype bf16 moves what a report says.

Runs `spikescope run` on the same prompts (default: the built-in ones) in float32 and in bfloat16, and prints a table of every
kind of statistic in results/spikes.json and results/sinks.json: of one figure both values, of one figure a layer, head, token or
neuron the largest and the mean difference. Fails when a verdict differs: plateaus with their layers and dimensions, the states
in which the published rule flags anything, which blocks write and cancel with which leading neurons.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SINGLE = ["sink_rate", "mean_alpha", "spike_mass_correlation"]  # of the sinks


def run(options, folder, dtype):
    out = os.path.join(folder, dtype)
    result = subprocess.run([options.program, "run", "--quiet", "--json", "--losses", "--model", options.model, "--out", out, "--dtype",
                             dtype, *options.arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    results = {"capture": json.loads(result.stdout)["capture"]}
    for name in LAYERS:
        with open(os.path.join(out, "results", name + ".json"), encoding="utf-8") as file:
            results[name] = json.load(file)
    return results


def numbers(value, path=()):
    """Every number of a list of records, by the names on its way, lists' positions left out."""
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield path, float(value)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from numbers(entry, path + (key,))
    elif isinstance(value, list):
        for entry in value:
            yield from numbers(entry, path)


def plateaus(results):
    return [(p["first"], p["last"], p["dims"]) for p in results["spikes"]["plateaus"]]


def flags(results):
    return [layer["layer"] for layer in results["spikes"]["layers"] if layer["published_rule_flags"] > 0]


def writers(results):
    return [(w["block"], w["dim"], w["effect"], [n["index"] for n in w["neurons"][:1]]) for w in results["spikes"]["writers"]]


def spikes(results):
    return {(s["prompt"], s["token"], s["birth"], s["death"], tuple(s["dims"])) for s in results["spikes"]["spikes"]}


VERDICTS = {"plateaus: layers and dimensions": plateaus, "states in which the published rule flags anything": flags,
            "blocks that write or cancel, their dimension and leading neuron": writers}
# One figure for each element; what is shown is how far they move.
LAYERS = {"spikes": [("layers", "median"), ("layers", "max"), ("layers", "published_rule_flags"), ("plateaus", "value"), ("writers", "mlp"), ("writers", "attention")],
          "sinks": [("layers", "mass"), ("layers", "entropy"), ("layers", "bias_ratio"), ("layers", "bias_cosine"),
                    ("layers", "heads", "alpha")]}


def figures(results, analysis, path):
    value = results[analysis][path[0]]
    return [number for names, number in numbers(value) if names == path[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("arguments", nargs="*", help="further arguments for spikescope run, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exact, rounded = run(options, folder, "float32"), run(options, folder, "bf16")
    print("| statistic | float32 | bfloat16 |\n|---|---|---|")
    print(f"| mean next-token loss, nats | {exact['capture']['mean_loss']:.4f} | {rounded['capture']['mean_loss']:.4f} |")
    for name in SINGLE:
        print(f"| {name} | {exact['sinks'][name]:.4f} | {rounded['sinks'][name]:.4f} |")
    for a, b in zip(exact["spikes"]["plateaus"], rounded["spikes"]["plateaus"]):
        print(f"| plateau of layers {a['first']} to {a['last']}: median value | {a['value']:,.1f} | {b['value']:,.1f} |")
    both = spikes(exact) & spikes(rounded)
    print(f"| spike tokens with birth, death and dimensions | {len(spikes(exact))} | {len(spikes(rounded))}, {len(both)} the same |")
    print("\n| figures | how many | largest difference | mean difference | of values about |\n|---|---|---|---|---|")
    for analysis, paths in LAYERS.items():
        for path in paths:
            a, b = figures(exact, analysis, path), figures(rounded, analysis, path)
            if not a or len(a) != len(b):
                print(f"| {analysis}: {' '.join(path)} | {len(a)} and {len(b)} | | | |")
                continue
            differences = [abs(x - y) for x, y in zip(a, b)]
            size = math.sqrt(sum(x * x for x in a) / len(a))
            print(f"| {analysis}: {' '.join(path)} | {len(a)} | {max(differences):.3g} | {sum(differences) / len(a):.3g} | {size:.3g} |")
    print("\n| verdict | the same |\n|---|---|")
    different = [name for name, verdict in VERDICTS.items() if verdict(exact) != verdict(rounded)]
    for name, verdict in VERDICTS.items():
        changed = f"{verdict(exact)} becomes {verdict(rounded)}"
        print(f"| {name} | {changed if name in different else 'yes'} |")
    sys.exit(f"verdicts differ: {', '.join(different)}" if different else 0)


if __name__ == "__main__":
    main()
