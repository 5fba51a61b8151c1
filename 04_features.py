"""Build the candidate rows of each product, and the features that the boosters see.

python 04_features.py --config configs/sample.toml
"""

from lib.cli import run_stage
from lib.stages import features

if __name__ == "__main__":
    raise SystemExit(run_stage(features))
