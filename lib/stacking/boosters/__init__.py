"""One module for each booster library."""
