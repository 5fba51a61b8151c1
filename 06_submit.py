"""Blend, score the ladder on the locked part, write and check the submission.

python 06_submit.py --config configs/sample.toml
"""

from lib.cli import run_stage
from lib.stages import submit

if __name__ == "__main__":
    raise SystemExit(run_stage(submit))
