"""Which images are alike, by their embeddings."""
