#!/usr/bin/env bash
# The whole pipeline, from the original files to a scored submission.
#
#   ./run_all.sh                              the generated sample catalogue, minutes on two cores
#   ./run_all.sh configs/fashion.toml         a real one
#   ./run_all.sh configs/fashion.toml --set train.lr=0.02 --rebuild
#   ./run_all.sh configs/fashion.toml --dry-run
#   ./run_all.sh configs/fashion.toml --new ../other/new.bson     products it was not trained on
#
# What is fresh is skipped; what is stale stops the run unless --rebuild is given.
#
# All GPUs are used, a network on each; CUDA_VISIBLE_DEVICES=0,1 ./run_all.sh ... names some. Where
# networks are fewer than GPUs, have all GPUs work on each network, on one node or several, and then
# run this as ever, which finds them fresh:
#   .venv/bin/torchrun --nproc-per-node 4 02_train_cnn.py --config configs/fashion.toml
#   .venv/bin/torchrun --nproc-per-node 4 03_predict_tta.py --config configs/fashion.toml
set -euo pipefail

# What --new names is relative to the caller's folder; the scripts run in this one.
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --new) new=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
    --new=*) new=${1#--new=} && shift ;;
    *) arguments+=("$1") && shift && continue ;;
  esac
  case "$new" in
    "" | /*) ;;
    *) new=$PWD/$new ;;
  esac
  arguments+=("--new=$new")
done
set -- "${arguments[@]+"${arguments[@]}"}"

cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup_env.sh

case "${1:-}" in
  -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit ;;
esac
config=configs/sample.toml
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  config=$1
  shift
fi
if [ ! -f "$config" ]; then
  echo "error: $config: no such config; the ready ones lie in configs/" >&2
  exit 2
fi

setup_env requirements.txt
exec .venv/bin/python -m lib.cli "$config" "$@"
