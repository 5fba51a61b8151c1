#!/usr/bin/env bash
# Sourced by run_all.sh and run_tests.sh: a virtual environment in .venv with the pinned packages
# of the requirement files named in $1 ..., installed once and again whenever a file changes. Where
# there is an NVIDIA driver, xgboost is the build for GPUs.
set -euo pipefail

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python of 3.11 or later found; install one or set PYTHON=/path/to/python" >&2
  return 1
}

has_nvidia_driver() {
  nvidia-smi -L >/dev/null 2>&1
}

# The wheel of requirements.txt has no CUDA. The other one is pinned to the same version; it would
# bring a second copy of NCCL beside that of torch, so it comes without its dependencies.
use_xgboost_of_gpu() {
  local version
  version=$(sed -n 's/^xgboost-cpu==\([^ ]*\).*/\1/p' requirements.txt)
  .venv/bin/python -m pip uninstall --quiet --yes xgboost-cpu
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "xgboost==$version"
}

# pip would compile on one core. Packages bring some files that are no Python, which is no error.
compile_packages() {
  .venv/bin/python -m compileall -qq --workers 0 .venv/lib || true
}

setup_env() {
  local stamp=".venv/.installed-${1%.txt}" wanted python gpu=no
  has_nvidia_driver && gpu=yes
  wanted="$(cat "$@" | sha256sum) gpu=$gpu"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "making .venv with $python" >&2
    "$python" -m venv .venv
  fi
  echo "installing $* (some minutes, once)" >&2
  local file
  for file in "$@"; do
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r "$file"
  done
  [ $gpu = no ] || use_xgboost_of_gpu
  compile_packages
  echo "$wanted" >"$stamp"
}
