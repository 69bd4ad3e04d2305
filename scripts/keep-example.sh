#!/usr/bin/env bash
# Keeps the small files of a run (results as JSON, the still page, figures as SVG and PNG) in another folder.
# Usage: scripts/keep-example.sh RUN FOLDER
set -euo pipefail
run=${1:?usage: keep-example.sh RUN FOLDER} folder=${2:?usage: keep-example.sh RUN FOLDER}
"$(dirname "${BASH_SOURCE[0]}")/../build/spikescope" report "$run" --still --quiet > /dev/null  # no JavaScript in the repository
rm -rf "$folder"
mkdir -p "$folder/results" "$folder/report/figures"
cp "$run"/results/*.json "$folder/results/"
cp "$run"/report/index.html "$folder/report/"
cp "$run"/report/figures/*.{svg,png} "$folder/report/figures/"
