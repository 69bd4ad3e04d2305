#!/usr/bin/env bash
# Times `spikescope capture` against the Python tools of benchmarks/peers.py, on SmolLM2-135M in float32, and writes the
# table to build-bench/ (table.md and table.json). Build first: scripts/demo.sh or scripts/test.sh.
# Usage: benchmarks/run.sh [--venv DIR] [OPTION OF benchmarks/compare.py ...]
#   --venv DIR  the Python environment of the peers (default: build-bench/venv, made and filled when it is not there)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

venv=$root/build-bench/venv
if [[ ${1:-} == --venv ]]; then
  venv=${2:?--venv needs a folder}
  shift 2
fi
packages=(torch==2.13.0 transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 h5py==3.16.0 transformer-lens==4.3.0
  nnsight==0.8.1)

if [[ ! -x build/spikescope ]]; then
  echo "run.sh: no build/spikescope; run scripts/demo.sh first" >&2
  exit 1
fi
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv" || {
    rm -rf "$venv"
    echo "run.sh: python3 cannot make an environment (Debian: apt-get install python3-venv); or give one with --venv" >&2
    exit 1
  }
fi
have=$("$venv/bin/python" -m pip freeze --disable-pip-version-check | tr 'A-Z_' 'a-z-')
missing=()
for package in "${packages[@]}"; do
  # A local label such as +cpu is part of the same release.
  grep -qE "^${package//./\\.}(\+|$)" <<< "$have" || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "== installing ${missing[*]} into $venv" >&2
  "$venv/bin/python" -m pip install --disable-pip-version-check "${packages[@]}" >&2
fi
cuda=$("$venv/bin/python" -c 'import torch; print(torch.version.cuda or "")')
if [[ -n $cuda ]]; then
  echo "== pip brought a CUDA build of torch (CUDA $cuda): it is timed on the CPU all the same" >&2
fi
exec "$venv/bin/python" benchmarks/compare.py "$@"
