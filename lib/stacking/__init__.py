"""Boosters out-of-fold, blends, calibration."""
