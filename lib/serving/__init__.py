"""Answers while you wait: a predictor that stays loaded, and a web service on it."""
