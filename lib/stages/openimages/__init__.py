"""Stages of catalogs in the schema of Open Images."""
