# Sourced by demo.sh and test.sh: installs what is missing, builds, fetches. Everything here can be run again and again;
# what is there already is left alone.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spikescope
python_venv=$root/build-python/venv

# The web report's plotly.js travels inside the plotly wheel. Hash of the file itself, not of the wheel.
plotly_package=plotly==7.1.0
plotly_member=plotly/package_data/plotly.min.js
plotly_sha256=3b6e15d45dbb7fca5bd2094291e961ddc5472cd887009e6009a56dab668d721f

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# missing_packages STAGE...: names of packages.txt that are neither installed nor replaced by their program.
missing_packages() {
  local stage package program
  while read -r stage package program; do
    [[ " $* " == *" $stage "* ]] || continue
    if [[ -n $program ]] && command -v "$program" > /dev/null; then continue; fi
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null) == installed ]] || printf '%s\n' "$package"
  done < "$root/scripts/packages.txt"
}

# install_packages STAGE...: the missing packages of these stages. Never asks anything.
install_packages() {
  if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    say "not Debian: scripts/packages.txt lists what has to be there; going on"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then return; fi
  local install=(apt-get install -y --no-install-recommends "${missing[@]}")
  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo > /dev/null || ! sudo -n true 2> /dev/null; then
      printf '%s: packages are missing; install them as root with this line, then run this script again:\n' \
        "$(basename "$0")" >&2
      printf '%s\n' "$(command -v sudo > /dev/null && printf 'sudo ')${install[*]}"
      exit 1
    fi
    as_root=(sudo -n)
  fi
  say "installing ${missing[*]}"
  as_root+=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a)
  local options=(-q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
  # Lists may be old or absent; where they cannot be had, the install itself tells whether that matters.
  "${as_root[@]}" apt-get "${options[@]}" update < /dev/null >&2 || say "apt-get update failed; going on"
  "${as_root[@]}" apt-get "${options[@]}" "${install[@]:1}" < /dev/null >&2 || die "apt-get could not install ${missing[*]}"
}

# Where both OpenBLAS builds are installed, Debian's alternatives prefer the pthread one, whose threads fight with
# LibTorch's.
warn_about_blas() {
  local link target
  for link in /etc/alternatives/libblas.so.3-*; do
    target=$(readlink "$link") || continue
    [[ $target == *openblas-openmp* ]] && continue
    say "warning: $target is the system's BLAS, and slows Spikescope down; choose the OpenMP build with" \
      "update-alternatives --set $(basename "$link") $(dirname "$(dirname "$target")")/openblas-openmp/libblas.so.3"
  done
}

# build FOLDER CMAKE_OPTION...: all there is, or what $build_targets names.
build() {
  local folder=$root/$1 fresh=()
  shift
  # A build folder of a checkout that was moved or copied is of no use.
  local home
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$folder/CMakeCache.txt" 2> /dev/null || true)
  if [[ -n $home && $home != "$root" ]]; then fresh=(--fresh); fi
  say "building in ${folder#"$root"/}"
  mkdir -p "$folder"
  cmake "${fresh[@]}" -S "$root" -B "$folder" -G Ninja "$@" > "$folder/configure.log" 2>&1 ||
    { cat "$folder/configure.log" >&2; die "cmake failed"; }
  # shellcheck disable=SC2086
  cmake --build "$folder" -j "$(nproc)" ${build_targets:+--target $build_targets} >&2 || die "the build failed"
}

# fetch_python: an environment with scripts/python-packages.txt, and with nothing else, in $python_venv. What is there
# already is left alone.
fetch_python() (
  list=$root/scripts/python-packages.txt
  if cmp -s "$list" "$python_venv/packages.txt"; then exit 0; fi
  say "installing Python packages for the tests in ${python_venv#"$root"/}"
  rm -rf "$python_venv"
  trap 'rm -rf "$python_venv"' EXIT
  trap 'exit 130' INT TERM HUP
  python3 -m venv "$python_venv" || die "python3 cannot make an environment (Debian: apt-get install python3-venv)"
  pip=("$python_venv/bin/python" -m pip --no-input --disable-pip-version-check --quiet)
  # Which torch a name and a version mean depends on where pip looks: a CPU build, or one for CUDA that brings gigabytes.
  torch=$(grep '^torch==' "$list")
  "${pip[@]}" install --dry-run --only-binary=:all: --report "$python_venv/torch.json" "$torch" < /dev/null >&2 ||
    die "pip finds no $torch"
  if grep -qE '"name": "(nvidia|cuda)-' "$python_venv/torch.json"; then
    die "pip would bring a build of $torch for CUDA, of several gigabytes: fill $python_venv by hand, or name another Python \
with SPIKESCOPE_TRANSFORMERS_PYTHON and SPIKESCOPE_PYTHON"
  fi
  # The list is all there is: nothing newer comes in by way of what the packages ask for.
  "${pip[@]}" install --no-deps --only-binary=:all: -r "$list" < /dev/null >&2 || die "pip could not install $list"
  "$python_venv/bin/python" -c 'import torch, transformers, safetensors, compressed_tensors' >&2 ||
    die "what is in $python_venv cannot be loaded"
  cp "$list" "$python_venv/packages.txt"
  trap - EXIT
)

find_pip() {
  if python3 -m pip --version > /dev/null 2>&1; then
    pip=(python3 -m pip)
  elif pip3 --version > /dev/null 2>&1; then
    pip=(pip3)
  else
    die "no pip: neither python3 -m pip nor pip3 works"
  fi
}

has_plotly() { [[ -f $cache/plotly.min.js ]] && sha256sum --status -c <<< "$plotly_sha256  $cache/plotly.min.js"; }

# Into a folder of its own, checked, renamed into place: no half file is ever seen.
fetch_plotly() (
  if has_plotly; then exit 0; fi
  say "fetching plotly.js"
  find_pip
  mkdir -p "$cache" || exit 1
  scratch=$(mktemp -d "$cache/.plotly-XXXXXX") || exit 1
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 130' INT TERM HUP
  "${pip[@]}" download --quiet --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$scratch" "$plotly_package" < /dev/null >&2 || die "could not fetch $plotly_package with ${pip[*]}"
  python3 -m zipfile -e "$scratch"/plotly-*.whl "$scratch/wheel" || die "cannot unpack the wheel of $plotly_package"
  found=$(sha256sum < "$scratch/wheel/$plotly_member" | cut -d ' ' -f 1)
  [[ $found == "$plotly_sha256" ]] || die "$plotly_member of $plotly_package has sha256 $found, expected $plotly_sha256"
  mv -f "$scratch/wheel/$plotly_member" "$cache/plotly.min.js"
)
