"""Index the files of the catalog; assign categories, parts and folds.

python 01_extract.py --config configs/sample.toml
"""

from lib.cli import run_stage
from lib.stages import extract

if __name__ == "__main__":
    raise SystemExit(run_stage(extract))
