"""Products that share an image, found by the hash of its bytes."""
