"""Faults made on purpose in real runs: after each, the same command ends with the same bytes."""
