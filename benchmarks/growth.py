#!/usr/bin/env python3
"""How time and memory of a capture grow with tokens, length, layers and width.

Captures every resid_post and the sink statistics of generated LLaMA-shaped checkpoints (benchmarks/generated.py), varying one
size at a time; the best of --repeat runs counts. Fits time ~ size^exponent, and checks what `inspect` predicts against what
was measured. Writes growth.json and growth.md to --out, and with --plot a figure (gnuplot).
"""
import argparse
import datetime
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

from compare import ROOT, cpu
from generated import Shape, write_model

# As SmolLM2-135M, but with few layers.
BASE = Shape(layers=6, d=576, heads=9, kv_heads=3, mlp=1536, vocabulary=4096)


def wide(d):
    return BASE._replace(d=d, heads=d // 64, kv_heads=max(1, d // 192), mlp=d * 8 // 3 // 32 * 32)


# Axis: what the size is, and for each size the shape, windows and tokens a window.
AXES = {
    "tokens": [(512 * n, BASE, n, 512) for n in (1, 2, 4, 8, 16, 32)],
    "length": [(n, BASE, 1, n) for n in (128, 256, 512, 1024, 2048, 4096, 8192)],
    "layers": [(n, BASE._replace(layers=n), 4, 512) for n in (4, 8, 16, 32)],
    "width": [(d, wide(d), 2, 512) for d in (384, 768, 1536, 3072)],
}


def measure(options, folder, shape, windows, length):
    model = os.path.join(folder, "model")
    write_model(model, shape)
    ids = os.path.join(folder, "ids.json")
    with open(ids, "w", encoding="utf-8") as file:
        json.dump([[(w * length + i) * 31 % shape.vocabulary for i in range(length)] for w in range(windows)], file)

    def call(*arguments):
        result = subprocess.run([options.program, *arguments, "--json", "--quiet"], capture_output=True, text=True)
        if result.returncode:
            sys.exit(result.stderr)
        return json.loads(result.stdout)

    runs = [call("capture", "--model", model, "--ids", ids, "--sinks", "--out", os.path.join(folder, "out"))
            for _ in range(options.repeat)]
    predicted = call("inspect", model, "--windows", str(windows), "--length", str(length))["capture_estimate"]
    return dict(seconds=min(run["seconds"] for run in runs), peak_mib=max(run["peak_rss_mib"] for run in runs),
                predicted_seconds=predicted["seconds"], predicted_mib=predicted["peak_bytes"] / 2**20)


def exponent(points):
    """Slope of the least-squares line through (log size, log seconds)."""
    xs, ys = [math.log(size) for size, _ in points], [math.log(seconds) for _, seconds in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


def markdown(report):
    lines = [f"{report['cpu']}, {report['threads']} threads, {report['date']}, best of {report['repeat']}. "
             f"Command: `{report['command']}`", "",
             "| growing | from, to | time ~ size^ | at the upper end, size^ |", "|---|---|---|---|"]
    for axis, rows in report["axes"].items():
        points = [(row["size"], row["seconds"]) for row in rows]
        lines.append(f"| {axis} | {rows[0]['size']:,} to {rows[-1]['size']:,} | {exponent(points):.2f} | {exponent(points[-2:]):.2f} |")
    for axis, rows in report["axes"].items():
        lines += ["", f"| {axis} | seconds | predicted | peak RSS (MiB) | predicted |", "|---|---|---|---|---|"]
        for row in rows:
            lines.append(f"| {row['size']:,} | {row['seconds']:.2f} | {row['predicted_seconds']:.2f} | {row['peak_mib']:,} | "
                         f"{row['predicted_mib']:,.0f} |")
    return "\n".join(lines) + "\n"


def plot(report, path):
    script = [f"set terminal svg size 860,640 font 'DejaVu Sans,12' background '#ffffff'", f"set output '{path}'",
              "set multiplot layout 2,2", "set logscale xy", "set grid lc rgb '#dddddd'", "set key left top",
              "set ylabel 'seconds'", "set format y '%g'", "set format x '%g'"]
    for axis, rows in report["axes"].items():
        data = "\n".join(f"{row['size']} {row['seconds']} {row['predicted_seconds']}" for row in rows)
        name = {"tokens": "tokens, in windows of 512", "length": "tokens, in one window"}.get(axis, axis)
        script += [f"$data << END\n{data}\nEND", f"set xlabel '{name}'", "unset xtics",
                   f"set xrange [{0.8 * rows[0]['size']}:{1.25 * rows[-1]['size']}]",
                   "set xtics (" + ", ".join(f"'{row['size']}' {row['size']}" for row in rows) + ") rotate by -30",
                   "plot $data using 1:2 with linespoints pt 7 lw 2 lc rgb '#1f77b4' title 'measured', "
                   "$data using 1:3 with points pt 6 ps 1.2 lc rgb '#d62728' title 'predicted by inspect'"]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--axis", action="append", choices=AXES, help="repeatable (default: all)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plot", help="SVG file")
    parser.add_argument("--out", default=os.path.join(ROOT, "build-bench"))
    options = parser.parse_args()
    report = dict(cpu=cpu(), threads=len(os.sched_getaffinity(0)), date=datetime.date.today().isoformat(), repeat=options.repeat,
                  command=shlex.join(["benchmarks/growth.py", *sys.argv[1:]]), axes={})
    for axis in options.axis or AXES:
        report["axes"][axis] = []
        for size, shape, windows, length in AXES[axis]:
            print(f"== {axis} {size}", file=sys.stderr, flush=True)
            folder = tempfile.mkdtemp()
            try:
                report["axes"][axis].append(dict(measure(options, folder, shape, windows, length), size=size))
            finally:
                shutil.rmtree(folder)
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "growth.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
    with open(os.path.join(options.out, "growth.md"), "w", encoding="utf-8") as file:
        file.write(markdown(report))
    if options.plot:
        plot(report, options.plot)
    print(markdown(report))


if __name__ == "__main__":
    main()
