"""Imports what the stages use, with one thread, for the processes of `tests.scripts.run_all`."""

from importlib import import_module

from lib.models.workarounds import import_torchvision
from lib.runtime.workers import limit_threads

limit_threads(1)  # as `run.threads` of their configs; read when a library is imported
for name in ("torch._dynamo", "faiss", "lightgbm", "xgboost", "catboost", "sklearn.ensemble"):
    import_module(name)
for name in ("data.synthetic.catalog", "models.factory", "features.build", "training.trainer"):
    import_module(f"lib.{name}")
import_torchvision()
for name in (
    "timm",
    "segmentation_models_pytorch",
    "numba",
    "matplotlib.pyplot",
    "huggingface_hub",
):
    import_module(name)
import_module("tests.scripts")
