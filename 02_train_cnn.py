"""Train every network of the config, once or over the folds.

python 02_train_cnn.py --config configs/sample.toml
torchrun --nproc-per-node 4 02_train_cnn.py --config configs/fashion.toml    # 4 GPUs a network
"""

from lib.cli import run_stage
from lib.stages import train

if __name__ == "__main__":
    raise SystemExit(run_stage(train))
