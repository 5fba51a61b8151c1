#!/usr/bin/env bash
# Sourced by run_all.sh and run_tests.sh: a virtual environment in .venv with the pinned packages
# of the requirement files named in $1 ..., installed once and again whenever a file changes.
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

setup_env() {
  local stamp=".venv/.installed-${1%.txt}" wanted python
  wanted=$(cat "$@" | sha256sum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "making .venv with $python" >&2
    "$python" -m venv .venv
  fi
  echo "installing $* (some minutes, once)" >&2
  local file
  for file in "$@"; do
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file"
  done
  echo "$wanted" >"$stamp"
}
