"""Artifacts that Dask workers build (`run.cluster`)."""
