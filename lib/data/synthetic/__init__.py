"""The generated sample catalog."""
