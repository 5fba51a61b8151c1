#!/usr/bin/env bash
# Run all six stages, from the original files to a scored submission.
#
#   ./run_all.sh                              the generated sample catalog, minutes on two cores
#   ./run_all.sh --data products.csv          your catalog: see docs/own_data.md
#   ./run_all.sh configs/fashion.toml         a real catalog
#   ./run_all.sh configs/fashion.toml --set train.lr=0.02 --rebuild
#   ./run_all.sh configs/fashion.toml --rehearse  all stages on a draw, in minutes
#   ./run_all.sh configs/fashion.toml --dry-run
#   ./run_all.sh configs/fashion.toml --status    what is finished, and the time that is left
#   ./run_all.sh configs/fashion.toml --new ../other/new.bson     classify new products
#   ./run_all.sh configs/fashion.toml --similar photo.jpg         or the id of a product
#   ./run_all.sh configs/fashion.toml --review    people decide what was not accepted, on a local page
#   ./run_all.sh configs/fashion.toml --with-reviewed     run again with their answers as labels
#   ./run_all.sh configs/fashion.toml --serve     answer pictures at an address of this machine
#
# With --data: --test PATH, --images FOLDER, --time-limit 20m, --quality fast|good|best.
# With --review: --new PATH, --label-issues, --people N, --port N, --export. With --serve: --port N.
# Options, the same for all scripts: --set, --new PATH, --rebuild, --strict, --dry-run,
# --show-config, --quiet, --verbose. Fresh artifacts are skipped; a stale one stops the run unless
# --rebuild is given. Settings: .venv/bin/python -m lib.config
#
# Every visible GPU trains a network of its own. If there are fewer networks than GPUs, run these
# two stages with torchrun first, and this script afterwards:
#   .venv/bin/torchrun --nproc-per-node 4 02_train_cnn.py --config configs/fashion.toml
#   .venv/bin/torchrun --nproc-per-node 4 03_predict_tta.py --config configs/fashion.toml
set -euo pipefail

# These paths are relative to the caller's folder; the scripts run in this one.
arguments=()
planned=
while [ $# -gt 0 ]; do
  case "$1" in
    --similar)
      arguments+=("$1") && shift
      if [ -e "${1:-}" ]; then arguments+=("$(realpath "$1")") && shift; fi
      continue
      ;;
    --new | --data | --test | --images) option=$1 path=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
    --new=* | --data=* | --test=* | --images=*) option=${1%%=*} path=${1#*=} && shift ;;
    *) arguments+=("$1") && shift && continue ;;
  esac
  [ "$option" != --data ] || planned=yes
  case "$path" in
    "" | /*) ;;
    *) path=$PWD/$path ;;
  esac
  arguments+=("$option=$path")
done
set -- "${arguments[@]+"${arguments[@]}"}"

cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup_env.sh

case "${1:-}" in
  -h | --help) sed -n '2,26s/^# \{0,1\}//p' "$0"; exit ;;
esac
config=configs/sample.toml
if [ -n "$planned" ]; then
  setup_env requirements.txt
  exec .venv/bin/python -m lib.cli "$@"
fi
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  config=$1
  shift
fi
if [ ! -f "$config" ]; then
  echo "error: $config: config not found; see configs/ for examples" >&2
  exit 2
fi

setup_env requirements.txt
exec .venv/bin/python -m lib.cli "$config" "$@"
