"""Small helpers that know nothing of products or images."""
