#!/usr/bin/env bash
# The tests, in the same environment as the pipeline, a file a core; arguments go to pytest.
#
#   ./run_tests.sh
#   ./run_tests.sh tests/features -k priors
#   ./run_tests.sh tests/test_cli.py -n 0 --pdb
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup_env.sh

setup_env requirements.txt
setup_env requirements-dev.txt
unset PYTHONDONTWRITEBYTECODE # tests start many interpreters, each of which would compile lib/ anew
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile \
    --no-loadscope-reorder "$@"
