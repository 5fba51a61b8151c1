"""The build system: what is fresh, and how the rest is built."""
