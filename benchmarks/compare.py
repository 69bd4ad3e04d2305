#!/usr/bin/env python3
"""The table behind benchmarks/run.sh: every peer and Spikescope on the same token ids, one after the other.

Each is run in a process of its own; the fastest of --repeat repetitions counts, loading excluded. OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE are unset in all of them: where a machine sets them, they can halve OpenBLAS.
"""
import argparse
import datetime
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = ["hf-hooks", "hf-eager", "hf-sdpa", "transformer-lens", "nnsight"]
NO_ATTENTION = {"hf-sdpa"}
TEXTS = ["LICENSE", "THIRD_PARTY_NOTICES.md", "data/prompts.txt"]


def environment():
    removed = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: value for name, value in os.environ.items() if name not in removed}


def last_json(text):
    """The JSON document that ends `text`; None when there is none."""
    for start in [0] + [i + 1 for i, c in enumerate(text) if c == "\n"]:
        try:
            return json.loads(text[start:])
        except ValueError:
            continue
    return None


def call(command, **options):
    return subprocess.run(command, env=environment(), capture_output=True, text=True, **options)


def write_ids(options, folder, windows, length):
    texts = [options.text] if options.text else [os.path.join(ROOT, name) for name in TEXTS]
    text = "\n".join(open(name, encoding="utf-8").read() for name in texts)
    result = call([options.program, "tokenize", "--model", options.gguf, "--no-special"], input=text)
    if result.returncode:
        sys.exit(result.stderr.strip())
    ids = json.loads(result.stdout)["ids"]
    if len(ids) < windows * length:
        sys.exit(f"the text has {len(ids)} tokens, {windows} windows of {length} need {windows * length}; give a longer --text")
    path = os.path.join(folder, f"{windows}x{length}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump([ids[w * length:(w + 1) * length] for w in range(windows)], file)
    return path


def writing(options, ids, folder, layers):
    """Time of a capture of all states over that of one of the last state alone; both in turns."""
    seconds = {}
    for _ in range(options.repeat):
        for points in ("blocks.*.resid_post", f"blocks.{layers - 1}.resid_post"):
            run = ours(options, ids, folder, "float32", points, repeat=1)
            seconds[points] = min(seconds.get(points, math.inf), run["seconds"])
    every, last = seconds.values()
    return every / last


def ours(options, ids, folder, dtype, points="blocks.*.resid_post", repeat=None):
    command = [options.program, "capture", "--model", options.gguf, "--ids", ids, "--points", points,
               "--sinks", "--out", os.path.join(folder, "capture"), "--threads", str(options.threads), "--dtype", dtype, "--json", "--quiet"]
    runs = []
    for _ in range(repeat or options.repeat):
        result = call(command)
        found = last_json(result.stdout)
        if result.returncode or not found:
            sys.exit(result.stderr.strip() or "spikescope capture printed no result")
        runs.append(found)
    best = max(runs, key=lambda run: run["tokens_per_second"])
    return dict(peer="spikescope" if dtype == "float32" else f"spikescope --dtype {dtype}", tokens=best["tokens"], seconds=round(best["seconds"], 3),
                tokens_per_s=round(best["tokens_per_second"], 1),
                peak_rss_mib=max(run["peak_rss_mib"] for run in runs), command=shlex.join(command))


def blas_rate(options):
    """GFLOP/s of LibTorch's BLAS at the block's shapes, weighted by their work: what docs/performance.md calls the limit."""
    parts = os.path.join(os.path.dirname(options.program), "benchmarks", "benchmark_parts")
    if not os.path.exists(parts):
        sys.exit("--limit needs the benchmarks of the parts: cmake -B build -DSPIKESCOPE_BENCHMARKS=ON && cmake --build build")
    result = call([parts, "--benchmark_filter=Blas", "--benchmark_repetitions=3", "--benchmark_format=json"])
    best, flops = {}, {}
    for run in last_json(result.stdout)["benchmarks"]:
        if run["run_type"] == "iteration":
            rows, out, inner = (int(part.split(":")[1]) for part in run["run_name"].split("/")[1:4])
            flops[run["run_name"]] = 2e-9 * rows * out * inner
            best[run["run_name"]] = max(best.get(run["run_name"], 0.0), run["GFLOP/s"])
    return sum(flops.values()) / sum(flops[name] / best[name] for name in flops)


def architecture(options):
    return json.loads(call([options.program, "inspect", "--json", "--no-estimate", options.gguf]).stdout)["architecture"]


def share_of_limit(options, row, windows, length, rate):
    """Products of the pass, the causal half of attention included, a second, over what the BLAS does."""
    shape = architecture(options)
    heads, kv, hd = shape["n_heads"], shape["n_kv_heads"], shape["head_dim"]
    weights = shape["d_model"] * (2 * heads * hd + 2 * kv * hd + 3 * shape["mlp_width"])
    pairs = windows * length * (length + 1) / 2
    flops = shape["n_layers"] * (2 * weights * windows * length + 4 * pairs * heads * hd)
    return 1e-9 * flops / row["seconds"] / rate


def peer(options, name, ids):
    command = [sys.executable, os.path.join(ROOT, "benchmarks", "peers.py"), "--peer", name, "--gguf", options.gguf,
               "--ids", ids, "--repeat", str(options.repeat), "--threads", str(options.threads),
               "--memory-gib", str(options.memory_gib)]
    result = call(command)
    found = last_json(result.stdout)
    if found is None:
        lines = result.stderr.strip().splitlines()
        found = dict(peer=name, error=lines[-1] if lines else f"exit code {result.returncode}")
    return dict(found, command=shlex.join(command))


def plot(report, path):
    """Tokens a second by length, a line a tool; where one has run out of memory its line ends."""
    lines = {}
    for size, rows in report["sizes"].items():
        for row in rows:
            if "tokens_per_s" in row:
                lines.setdefault(row["peer"], []).append((int(size.split(" x ")[1]), row["tokens_per_s"]))
    lengths = sorted({length for points in lines.values() for length, _ in points})
    colors = ["#d62728", "#ff9896", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f"]
    script = ["set terminal svg size 860,520 font 'DejaVu Sans,12' background '#ffffff'", f"set output '{path}'",
              "set logscale xy", "set grid lc rgb '#dddddd'", "set xlabel 'tokens a window'", "set ylabel 'tokens a second'",
              "set key outside bottom center horizontal", "set xtics (" + ", ".join(f"'{n:,}' {n}" for n in lengths) + ")", "set format y '%.0f'",
              f"set xrange [{0.8 * lengths[0]}:{1.25 * lengths[-1]}]"]
    for i, points in enumerate(lines.values()):
        script.append(f"$data{i} << END\n" + "\n".join(f"{x} {y}" for x, y in sorted(points)) + "\nEND")
    script.append("plot " + ", ".join(f"$data{i} with linespoints lw 2 pt {5 if name.startswith('spikescope') else 7} ps 0.7 "
                                      f"lc rgb '{colors[i % len(colors)]}' title '{name}'" for i, name in enumerate(lines)))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def size_table(size, rows):
    speed = next(row["tokens_per_s"] for row in rows if row["peer"] == "spikescope")
    lines = [f"{size} tokens:", "", "| tool | tokens/s | peak RSS (MiB) | Spikescope (float32) is faster by |", "|---|---|---|---|"]
    for row in rows:
        name = row["peer"] + (" (no attention weights)" if row["peer"] in NO_ATTENTION else "")
        if "tokens_per_s" in row:
            ratio = "" if name.startswith("spikescope") else f"{speed / row['tokens_per_s']:.2f}x"
            lines.append(f"| {name} | {row['tokens_per_s']:,.0f} | {row['peak_rss_mib']:,} | {ratio} |")
        else:
            lines.append(f"| {name} | {row.get('error', 'out of memory')} | | |")
    return lines


def markdown(report):
    lines = ["# Capture of all resid_post and all sink statistics, float32 where nothing else is said", "",
             f"{report['cpu']}, {report['threads']} threads, {report['date']}, best of {report['repeat']}; {report['versions']}",
             ""]
    for size, rows in report["sizes"].items():
        lines += size_table(size, rows) + [""]
        if size in report["limit"]:
            share, rate = report["limit"][size]
            lines += [f"Share of the limit in float32: {share:.2f} (LibTorch's BLAS does {rate:.0f} GFLOP/s at the block's shapes).", ""]
        if size in report["writing"]:
            lines += [f"All states cost {100 * report['writing'][size] - 100:.1f} % more time than the last one alone.", ""]
    return "\n".join(lines + [f"Command: `{report['command']}`", ""])


def main():
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--gguf", help="the checkpoint (default: smollm2-135m, fetched when missing)")
    parser.add_argument("--text", help="text to cut the windows from (default: " + ", ".join(TEXTS) + ")")
    parser.add_argument("--size", action="append", metavar="WINDOWSxLENGTH", help="repeatable (default: 4x512 and 2x2048)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="repeatable (default: all)")
    parser.add_argument("--limit", action="store_true", help="also measure the BLAS, and what share of its rate the pass reaches")
    parser.add_argument("--writing", action="store_true", help="also measure what writing the states costs")
    parser.add_argument("--alone", action="store_true", help="Spikescope only")
    parser.add_argument("--plot", help="SVG file: tokens a second by length (gnuplot)")
    parser.add_argument("--repeat", type=int, default=3, help="peers begin no repetition after a minute")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory-gib", type=float, default=18, help="address space that a peer may take")
    parser.add_argument("--out", default=os.path.join(ROOT, "build-bench"))
    options = parser.parse_args()
    if not options.gguf:
        fetched = call([options.program, "models", "fetch", "smollm2-135m", "--quiet"])
        if fetched.returncode:
            sys.exit(fetched.stderr.strip())
        options.gguf = fetched.stdout.strip()

    report = dict(cpu=cpu(), threads=options.threads, date=datetime.date.today().isoformat(), repeat=options.repeat,
                  command=shlex.join(["benchmarks/run.sh", *sys.argv[1:]]), sizes={}, limit={}, writing={}, versions="")
    versions = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in options.size or ["4x512", "2x2048"]:
            windows, length = (int(part) for part in size.split("x"))
            ids = write_ids(options, folder, windows, length)
            print(f"== {size} spikescope", file=sys.stderr, flush=True)
            rows = [ours(options, ids, folder, dtype) for dtype in ("float32", "bf16")]
            for name in [] if options.alone else options.peer or PEERS:
                print(f"== {size} {name}", file=sys.stderr, flush=True)
                rows.append(peer(options, name, ids))
                versions.update(rows[-1].get("versions", {}))
            if options.limit:
                rate = blas_rate(options)
                report["limit"][size.replace("x", " x ")] = (share_of_limit(options, rows[0], windows, length, rate), rate)
            if options.writing:
                report["writing"][size.replace("x", " x ")] = writing(options, ids, folder, architecture(options)["n_layers"])
            report["sizes"][size.replace("x", " x ")] = rows
    report["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "table.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
    with open(os.path.join(options.out, "table.md"), "w", encoding="utf-8") as file:
        file.write(markdown(report))
    if options.plot:
        plot(report, options.plot)
    print(markdown(report))


if __name__ == "__main__":
    main()
