#!/usr/bin/env python3
"""A model in whole numbers of 8 bits beside float32 and bfloat16: perplexity and tokens a second, as a Markdown table.

    benchmarks/int8.py --model smollm2-135m --templates t.safetensors --text wiki.test.txt [--windows 40 --length 512]

Runs `spikescope quantize --real` in both precisions. Tokens a second are of whole passes, conversion of the weights and the
head (which stays in the precision of the rest) included; the best of --repeat runs.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def rows(options, dtype):
    command = [options.program, "quantize", "--quiet", "--json", "--model", options.model, "--templates", options.templates,
               "--text", options.text, "--windows", str(options.windows), "--length", str(options.length), "--bits-weight", "8",
               "--real", "--dtype", dtype]
    for method in options.method:
        command += ["--method", method]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout)["rows"]


def best(options, dtype):
    runs = [rows(options, dtype) for _ in range(options.repeat)]
    for i, row in enumerate(runs[0]):
        row["tokens_per_second"] = max(run[i]["tokens_per_second"] for run in runs)
    return runs[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "spikescope"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--templates", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--method", action="append")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    options.method = options.method or ["insertquant", "insertquant-dynamic", "dynamic"]
    print(f"{datetime.date.today()}, {options.windows} windows of {options.length} tokens\n")
    print("| method | other products | int8 products | perplexity | dNLL | tokens/s |\n|---|---|---|---|---|---|")
    for dtype in ("float32", "bf16"):
        for row in best(options, dtype):
            print(f"| {row['method']} | {dtype} | {row.get('int8', '-')} | {row['perplexity']:.3f} | {row['dnll']:+.4f} | "
                  f"{row['tokens_per_second']:,.0f} |")


main()
