"""Aspect ratios: clusters of images of nearly one ratio, and batches that keep it."""
