"""Batches for training and validation: of images, embeddings and strokes."""
