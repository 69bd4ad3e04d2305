#!/usr/bin/env bash
# From a fresh checkout to a report on a real model: installs what is missing, builds, fetches SmolLM2-135M and analyses it.
# Usage: scripts/demo.sh [OPTION OF spikescope run ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

install_packages build run fetch
warn_about_blas
build build -DCMAKE_BUILD_TYPE=Release -DSPIKESCOPE_TESTS=OFF
fetch_plotly || die "no plotly.js, no report"
build/spikescope models fetch smollm2-135m
build/spikescope run --model smollm2-135m --out runs/smollm2-135m "$@"
say "report: $root/runs/smollm2-135m/report/index.html"
