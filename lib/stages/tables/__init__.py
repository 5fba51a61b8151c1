"""Stage 01 of Parquet and Arrow tables."""
