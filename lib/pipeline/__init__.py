"""The build system: artifacts, what is fresh, and how the rest is built. Knows nothing of images."""
