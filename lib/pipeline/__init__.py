"""The build system: artifacts, what is fresh, how the rest is built. It knows nothing of images."""
