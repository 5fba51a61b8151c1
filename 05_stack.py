"""Train the second and third layer of boosters out-of-fold and score all parts.

python 05_stack.py --config configs/sample.toml
"""

from lib.cli import run_stage
from lib.stages import stack

if __name__ == "__main__":
    raise SystemExit(run_stage(stack))
