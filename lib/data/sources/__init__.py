"""One module for each kind of catalog."""
