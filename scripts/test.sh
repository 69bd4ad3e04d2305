#!/usr/bin/env bash
# Installs what is missing, builds and runs every test. The last line is "N passed, N failed, N skipped".
# Usage: scripts/test.sh [--all] [--python] [--torch DIR]
#   --all        also builds and runs them with AddressSanitizer and UndefinedBehaviorSanitizer (build-asan), those of our
#                own threads with ThreadSanitizer (build-tsan), fuzzes what reads files for 20 s each (scripts/fuzz.sh),
#                gives 2,000 damaged checkpoints to the program, and kills 30 captures (tests/hostile)
#   --python     also runs those that compare with transformers and compressed-tensors, from an environment of their own
#                (build-python/venv, made where it is not there: about 1.2 GB). Without it they are skipped, unless
#                SPIKESCOPE_TRANSFORMERS_PYTHON and SPIKESCOPE_PYTHON name a Python that has them. With CI=true it is on
#   --torch DIR  also builds and runs them against the LibTorch in DIR (build-torch)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

sanitize=false torch= python=${CI:-false}
while (($#)); do
  case $1 in
    --all) sanitize=true ;;
    --python) python=true ;;
    --torch) torch=${2:?--torch needs a folder}; shift ;;
    -h | --help) sed -n '2,11s/^# //p' "$0"; exit 0 ;;
    *) printf 'test.sh: unknown option %s; see test.sh --help\n' "$1" >&2; exit 2 ;;
  esac
  shift
done

passed=0 failed=0 skipped=0

# lines PATTERN FILE: how many match. ctest's JUnit file has a test case a line, and escapes what the tests print.
lines() { grep -cE "$1" "$2" || true; }

# run_tests FOLDER: adds its counts to the totals. What is neither passed nor skipped on its own account has failed, a test
# whose program is missing included.
run_tests() {
  local results=$root/$1/tests.xml good omitted all
  rm -f "$results"
  say "testing in $1"
  ctest --test-dir "$1" -j2 --output-on-failure --output-junit "$results" < /dev/null || true
  [[ -s $results ]] || die "ctest left no results in $results"
  all=$(lines '^\s<testcase ' "$results")
  good=$(lines '^\s<testcase .* status="run">' "$results")
  omitted=$(($(lines '^\s+<skipped message="SKIP_' "$results") + $(lines '^\s<testcase .* status="disabled">' "$results")))
  passed=$((passed + good)) failed=$((failed + all - good - omitted)) skipped=$((skipped + omitted))
}

# check COMMAND...: a test by itself, by its exit code.
check() {
  say "$*"
  if "$@" < /dev/null >&2; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

install_packages build run fetch test
warn_about_blas
if [[ $python == true ]]; then
  # Beside the build: pip mostly waits for the network and the disk.
  fetch_python &
  fetching_python=$!
fi
build build -DCMAKE_BUILD_TYPE=Release -DSPIKESCOPE_TESTS=ON
fetch_plotly || say "without plotly.js the report's tests are skipped"
build/spikescope models fetch smollm2-135m || say "without SmolLM2 the tests on the real model are skipped"
if [[ $python == true ]]; then
  if wait "$fetching_python"; then
    export SPIKESCOPE_TRANSFORMERS_PYTHON=${SPIKESCOPE_TRANSFORMERS_PYTHON:-$python_venv/bin/python}
    export SPIKESCOPE_PYTHON=${SPIKESCOPE_PYTHON:-$python_venv/bin/python}
  else
    say "without these packages the tests that compare with transformers are skipped"
  fi
fi
run_tests build
if $sanitize; then
  build build-asan -DCMAKE_BUILD_TYPE=Release -DSPIKESCOPE_TESTS=ON -DSPIKESCOPE_SANITIZE=address,undefined
  run_tests build-asan
  build_targets="test_base test_capture test_model" build build-tsan -DCMAKE_BUILD_TYPE=Release -DSPIKESCOPE_TESTS=ON \
    -DSPIKESCOPE_SANITIZE=thread
  check build-tsan/tests/test_base --gtest_brief=1 --gtest_filter='Parallel*'
  check build-tsan/tests/test_capture --gtest_brief=1 --gtest_filter='DumpWriter.*:WriteQueue.*:Resume.*'
  check build-tsan/tests/test_model --gtest_brief=1 --gtest_filter='Streamed.*'
  check scripts/fuzz.sh
  check /usr/bin/python3 tests/hostile/corruptions.py
  check /usr/bin/python3 tests/hostile/kills.py
fi
if [[ -n $torch ]]; then
  build build-torch -DCMAKE_BUILD_TYPE=Release -DSPIKESCOPE_TESTS=ON -DSPIKESCOPE_TORCH_PREFIX="$(realpath "$torch")"
  run_tests build-torch
fi

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0 && passed > 0))
