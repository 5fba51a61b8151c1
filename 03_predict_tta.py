"""Score every image with test-time augmentation and keep the top classes.

python 03_predict_tta.py --config configs/sample.toml
torchrun --nproc-per-node 4 03_predict_tta.py --config configs/fashion.toml  # 4 GPUs share a part
"""

from lib.cli import run_stage
from lib.stages import predict

if __name__ == "__main__":
    raise SystemExit(run_stage(predict))
