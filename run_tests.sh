#!/usr/bin/env bash
# The tests, in the same environment as the pipeline; arguments go to pytest.
#
#   ./run_tests.sh
#   ./run_tests.sh tests/ranking -k priors
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup_env.sh

setup_env requirements.txt
setup_env requirements-dev.txt
exec .venv/bin/python -m pytest "$@"
