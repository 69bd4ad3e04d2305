#!/usr/bin/env bash
# Builds the fuzz targets with clang (build-fuzz) and runs each for some seconds from a seed corpus. Findings are kept in
# build-fuzz/findings; any is a failure.
# Usage: scripts/fuzz.sh [--seconds N] [TARGET ...]   (default: 20 seconds, all: gguf safetensors tokenizer checkpoint prompts
# quantized templates)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

seconds=20 targets=()
while (($#)); do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    -h | --help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
    -*) printf 'fuzz.sh: unknown option %s; see fuzz.sh --help\n' "$1" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
((${#targets[@]})) || targets=(gguf safetensors tokenizer checkpoint prompts quantized templates)

install_packages build fuzz
build build-fuzz -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DSPIKESCOPE_FUZZ=ON
findings=$root/build-fuzz/findings
mkdir -p "$findings"
build-fuzz/tests/fuzz/fuzz_seeds build-fuzz/seeds
failed=0
for target in "${targets[@]}"; do
  say "fuzzing $target for $seconds s"
  mkdir -p "build-fuzz/corpus/$target"
  # OpenMP's threads would only get in the fuzzer's way.
  OMP_NUM_THREADS=1 "build-fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 -artifact_prefix="$findings/$target-" \
    "build-fuzz/corpus/$target" "build-fuzz/seeds/$target" > "build-fuzz/$target.log" 2>&1 < /dev/null || {
    failed=$((failed + 1))
    tail -40 "build-fuzz/$target.log" >&2
  }
  sed -n 's/^stat::number_of_executed_units: */   runs: /p' "build-fuzz/$target.log" >&2
done
printf '%d targets fuzzed for %d s each, %d with findings\n' "${#targets[@]}" "$seconds" "$failed"
((failed == 0))
