"""Fixtures of a small catalog of colors, for tests of networks."""

from tests.image_catalog import catalog, checkpoints, labels, model, one_thread, reader

__all__ = ["catalog", "checkpoints", "labels", "model", "one_thread", "reader"]
