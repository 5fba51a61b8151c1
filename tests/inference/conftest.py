"""Fixtures of a small catalog of colors, for tests of networks."""

from tests.image_catalog import checkpoints, known, labels, model, one_thread, reader

__all__ = ["checkpoints", "known", "labels", "model", "one_thread", "reader"]
