"""Parquet and Arrow tables, with names of image files or the images themselves."""
