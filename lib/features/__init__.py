"""Candidate rows and their features."""
