"""Fixtures of the labelling tests for the study of human labels."""

from tests.labelling.conftest import four_classes

__all__ = ["four_classes"]
