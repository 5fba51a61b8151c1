"""Score every picture with test-time augmentation and keep the top classes.

python 03_predict_tta.py --config configs/sample.toml
"""

from lib.cli import run_stage

if __name__ == "__main__":
    raise SystemExit(run_stage("predict", __doc__))
