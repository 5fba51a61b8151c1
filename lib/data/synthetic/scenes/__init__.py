"""Composed scenes: images with boxes in the official layout of Open Images."""
