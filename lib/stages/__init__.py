"""One module for each script: it declares its artifacts and builds them."""
